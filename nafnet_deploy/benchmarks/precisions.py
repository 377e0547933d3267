"""What an engine computes in, and when the pictures of two count as the same."""

from __future__ import annotations

from nafnet_deploy.parity.tolerance import LIMITS, Limits, limits_for

# bf16 keeps 8 bits of mantissa: an error of about one 8-bit step is its nature, and 40 dB is 2.5 of them on average.
# What that costs the restored picture is measured with trained weights, not here.
ENGINE_LIMITS = {"bf16": Limits(max_abs_error=0.1, min_psnr=40.0)}


def limits_of(precision: str) -> Limits:
    """The limits of a precision.

    Raises:
        ConfigError: none are known for it.
    """
    return ENGINE_LIMITS[precision] if precision in ENGINE_LIMITS.keys() - LIMITS.keys() else limits_for(precision)


def coarsest(*precisions: str) -> str:
    """The one with the loosest limits: what pictures that went through all of them are held to."""
    return max(precisions, key=lambda precision: limits_of(precision).max_abs_error)


def arithmetic_of(engine: str, graph: str) -> str:
    """What an engine computes in.

    Args:
        engine: its own name, e.g. `onnxruntime cpu`: it says which device and precision really run.
        graph: precision of the graph; on a CPU every engine widens half to float32.
    """
    words = engine.split()
    if "bf16" in words:
        return "bf16"
    return "fp32" if "cpu" in words else graph
