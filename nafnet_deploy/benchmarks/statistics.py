"""What is said about a row of times. Quantiles interpolate linearly between neighbours, as NumPy does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Summary:
    """A row of times (milliseconds)."""

    n: int
    """How many were measured."""
    min_ms: float
    """The fastest."""
    median_ms: float
    """Half were faster."""
    p90_ms: float
    """Nine in ten were faster."""
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


def summarize(times_ms: Sequence[float]) -> Summary:
    """Statistics of one or more times in milliseconds."""
    values = np.asarray(times_ms, dtype=np.float64)
    return Summary(
        n=len(values),
        min_ms=float(values.min()),
        median_ms=float(np.median(values)),
        p90_ms=float(np.quantile(values, 0.9)),
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
    return Ratio(float(np.median(baseline) / np.median(engine)), float(median), float(q1), float(q3))
