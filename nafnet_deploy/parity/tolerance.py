"""How far an engine may stray from the network, as data: one row per precision of the graph."""

from __future__ import annotations

import dataclasses

from nafnet_deploy.config import nearest
from nafnet_deploy.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Limits:
    """A picture passes when every limit holds."""

    max_abs_error: float
    """The largest difference of any value must be below this (pictures in [0, 1])."""
    min_psnr: float | None = None
    """PSNR between the two pictures must be at least this (dB, range 1); None does not ask."""


LIMITS = {
    # 2e-5 is a two-hundredth of an 8-bit step: reordered float32 sums stay below it, any wrong weight does not.
    "fp32": Limits(max_abs_error=2e-5),
    # 60 dB is a quarter of an 8-bit step on average, ten times below what denoising at sigma 5 leaves behind; sound
    # half graphs reach 75 to 85 dB. Five 8-bit steps bound the single pixel that an average would hide.
    "fp16": Limits(max_abs_error=0.02, min_psnr=60.0),
}


def limits_for(precision: str) -> Limits:
    """The limits of a precision, e.g. `fp32`.

    Raises:
        ConfigError: no limits are known for it.
    """
    if precision not in LIMITS:
        raise ConfigError(f"no parity limits are known for precision {precision!r}.", nearest(precision, LIMITS))
    return LIMITS[precision]
