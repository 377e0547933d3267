"""What is said about a row of times. Quantiles interpolate linearly between neighbours, as NumPy does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Bootstrap resamples behind each confidence interval."""
CONFIDENCE = 0.95
"""Share of repetitions whose interval holds the true value, when rounds are independent."""
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""Quantiles at which an interval ends."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """A row of times (milliseconds)."""

    n: int
    """How many were measured."""
    min_ms: float
    """The fastest."""
    median_ms: float
    """Half were faster (p50)."""
    p90_ms: float
    """Nine in ten were faster."""
    p95_ms: float
    """19 in 20 were faster."""
    p99_ms: float
    """99 in 100 were faster; with fewer than about 100 rounds little more than the slowest."""
    mean_ms: float
    """Arithmetic mean; above the median when the machine was disturbed."""
    std_ms: float
    """Sample standard deviation; 0 for a single value."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times faster an engine is than the baseline: the baseline's time over the engine's."""

    of_medians: float
    """Ratio of the two medians."""
    median: float
    """Median of the ratios of each round: the headline, because both sides of a round saw the same machine."""
    q1: float
    """Lower quartile of the rounds' ratios."""
    q3: float
    """Upper quartile of the rounds' ratios."""
    low: float
    """Lower end of the median's confidence interval (95 %, percentile bootstrap over rounds)."""
    high: float
    """Upper end of it."""

    def agrees(self, other: Ratio) -> bool:
        """Whether two measurements of the same ratio differ by no more than their uncertainties explain together.

        The half widths of both intervals, on a logarithmic scale, add as squares.
        """
        apart = abs(math.log(self.median / other.median))
        ours, theirs = (math.log(r.high / r.low) / 2 for r in (self, other))
        return apart <= math.hypot(ours, theirs)


def summarize(times_ms: Sequence[float]) -> Summary:
    """Statistics of one or more times in milliseconds."""
    values = np.asarray(times_ms, dtype=np.float64)
    p90, p95, p99 = (float(np.quantile(values, q)) for q in (0.9, 0.95, 0.99))
    return Summary(
        n=len(values),
        min_ms=float(values.min()),
        median_ms=float(np.median(values)),
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=float(values.mean()),
        std_ms=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    )


def frames_per_second(median_ms: float, batch: int) -> float:
    """Pictures per second at the median time: 1000 / median ms x batch."""
    return 1000.0 / median_ms * batch


def speed_ratio(baseline_ms: Sequence[float], engine_ms: Sequence[float]) -> Ratio:
    """Compares two rows of times that were measured in the same rounds, in round order."""
    baseline, engine = np.asarray(baseline_ms), np.asarray(engine_ms)
    ratios = baseline / engine
    q1, median, q3 = np.quantile(ratios, (0.25, 0.5, 0.75))
    low, high = np.quantile(np.median(ratios[resample(len(ratios))], axis=1), TAILS)
    return Ratio(
        float(np.median(baseline) / np.median(engine)), float(median), float(q1), float(q3), float(low), float(high)
    )


def resample(rounds: int) -> NDArray[np.int64]:
    """Which rounds are drawn, with replacement: [RESAMPLES, rounds].

    Seeded: the same times always give the same interval, so that a stored report can be computed again.
    """
    return np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
