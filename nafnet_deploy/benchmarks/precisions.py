"""When two engines' pictures count as the same, also for arithmetic that no graph is exported in."""

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
