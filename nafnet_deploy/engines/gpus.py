"""The GPUs that plans are built for: compute capabilities, a well-known card of each, its memory."""

from __future__ import annotations

import dataclasses

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest

PORTABLE_MEMORY_GIB = 8.0
"""GPU memory that a portable plan may count on unless told otherwise (GiB)."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A compute capability, as its best-known card."""

    card: str
    """Name of the card whose memory stands for the capability."""
    memory_gib: float
    """Memory of that card (GiB)."""
    rtx: bool
    """Whether TensorRT-RTX builds for it; data-centre TensorRT serves the others."""


# Capabilities: developer.nvidia.com/cuda-gpus; RTX: the members of tensorrt_rtx.ComputeCapability in 1.7.
GPUS = {
    "sm75": Gpu("RTX 2080 Ti", 11, True),
    "sm80": Gpu("A100", 40, True),
    "sm86": Gpu("RTX 3090", 24, True),
    "sm87": Gpu("Jetson AGX Orin", 32, False),
    "sm89": Gpu("RTX 4090", 24, True),
    "sm90": Gpu("H100", 80, False),
    "sm100": Gpu("B200", 180, False),
    "sm120": Gpu("RTX 5090", 32, True),
    "sm121": Gpu("DGX Spark", 128, True),
}
"""Every compute capability with a name here."""


def read_gpus(text: str) -> tuple[str, ...]:
    """`sm86,sm89` as capabilities in the table's order, each once; `portable`, which stands alone, is none of them.

    Raises:
        ConfigError: an unknown capability, none at all, or `portable` beside others.
    """
    names = {name.strip().lower().replace("_", "") for name in text.split(",")} - {""}
    if names == {"portable"}:
        return ()
    if not names or "portable" in names:
        raise ConfigError(f"{text!r} names no GPUs.", "Use e.g. sm86, or sm86,sm89, or portable alone.")
    for name in sorted(names):
        if name not in GPUS:
            raise ConfigError(f"the GPU {name!r} is unknown.", nearest(name, GPUS))
    return tuple(name for name in GPUS if name in names)


def memory_gib(gpus: tuple[str, ...]) -> float:
    """Memory of the smallest of these GPUs (GiB); none stand for a portable plan."""
    return min((GPUS[name].memory_gib for name in gpus), default=PORTABLE_MEMORY_GIB)
