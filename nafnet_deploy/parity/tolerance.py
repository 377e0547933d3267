"""How far an engine may stray from the network, as data: one row per precision of the graph."""

from __future__ import annotations

import dataclasses
import math

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest

STATISTICS = ("max", "mean", "p99")
"""What is taken over the absolute differences of a picture before it is judged."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """A picture passes when every limit holds."""

    max_abs_error: float
    """The statistic of the absolute differences, less what `rtol` allows, must be below this (pictures in [0, 1])."""
    min_psnr: float | None = None
    """PSNR between the two pictures must be at least this (dB, range 1); None does not ask."""
    rtol: float = 0.0
    """Share of the reference's own magnitude that every value may differ by before the statistic is taken."""
    stat: str = "max"
    """`max`, `mean` or `p99` (99th percentile) of the absolute differences."""

    def __post_init__(self) -> None:
        def need(ok: bool, what: str, mend: str) -> None:
            if not ok:
                raise ConfigError(f"{what} is impossible.", mend)

        need(0 < self.max_abs_error < math.inf, f"an absolute limit of {self.max_abs_error}", "Use --atol above 0.")
        need(0 <= self.rtol < math.inf, f"a relative limit of {self.rtol}", "Use --rtol 0 or more.")
        need(
            self.min_psnr is None or math.isfinite(self.min_psnr), f"a PSNR of {self.min_psnr} dB", "Use --psnr-min 60."
        )
        if self.stat not in STATISTICS:
            raise ConfigError(f"the statistic {self.stat!r} is unknown.", nearest(self.stat, STATISTICS))


@dataclasses.dataclass(frozen=True)
class TileLimits:
    """A tiled picture passes when both limits hold."""

    min_psnr: float
    """PSNR between the tiled and the whole picture must be at least this (dB, range 1)."""
    max_seam: float
    """The mean jump of their difference across tile borders may exceed the jump elsewhere by this much."""


LIMITS = {
    # 2e-5 is a two-hundredth of an 8-bit step: reordered float32 sums stay below it, any wrong weight does not.
    "fp32": Limits(max_abs_error=2e-5),
    # 60 dB is a quarter of an 8-bit step on average, ten times below what denoising at sigma 5 leaves behind; sound
    # half graphs reach 75 to 85 dB. Five 8-bit steps bound the single pixel that an average would hide.
    "fp16": Limits(max_abs_error=0.02, min_psnr=60.0),
}
# A tile sees less than the picture: the network's own means are taken over the tile alone, so tiling loses far more
# than rounding and the same in every precision. 40 dB is 2.5 8-bit steps on average. A jump of half an 8-bit step
# along a whole line is where an eye begins to find it in a flat area.
TILED = TileLimits(min_psnr=40.0, max_seam=0.5 / 255)
# Rounding has no reason to follow what an iteration does, so a sound picture is about as near to its own iteration as
# rounding is large, and never much nearer to another one.
NEARER = 0.5
"""A picture whose root mean square distance to another iteration is below this share of that to its own is that
other iteration's."""


def limits_for(
    precision: str,
    atol: float | None = None,
    rtol: float | None = None,
    psnr_min: float | None = None,
    stat: str | None = None,
) -> Limits:
    """The limits of a precision, e.g. `fp32`, with what a user states in place of the table's.

    Args:
        precision: a row of `LIMITS`.
        atol, rtol, psnr_min, stat: replace `max_abs_error`, `rtol`, `min_psnr` and `stat`; None keeps the table's.

    Raises:
        ConfigError: no limits are known for the precision, or a value is impossible.
    """
    if precision not in LIMITS:
        raise ConfigError(f"no parity limits are known for precision {precision!r}.", nearest(precision, LIMITS))
    row = LIMITS[precision]
    return Limits(
        max_abs_error=row.max_abs_error if atol is None else atol,
        min_psnr=row.min_psnr if psnr_min is None else psnr_min,
        rtol=row.rtol if rtol is None else rtol,
        stat=row.stat if stat is None else stat,
    )
