"""What an iteration costs: a straight line through the times of N = 1, 2, ..., and what follows from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from nafnet_deploy.benchmarks.statistics import TAILS, resample

FRAME_MS = 16.7
"""One frame at 60 per second."""


@dataclasses.dataclass(frozen=True)
class CostModel:
    """time = a + b N, least squares over the medians of the rounds."""

    a_ms: float
    """What does not depend on N."""
    b_ms: float
    """What each iteration adds."""
    interval: tuple[float, float] | None = None
    """Ends of the 95 % interval of `further` (bootstrap over the rounds, each with all its N); None with one round."""

    @property
    def further(self) -> float:
        """What a further iteration costs, as a share of N = 1."""
        return self.b_ms / (self.a_ms + self.b_ms)

    def largest_n(self, budget_ms: float = FRAME_MS) -> int | None:
        """The largest N under the budget, 0 when not even one fits; None when more iterations cost nothing."""
        if self.b_ms <= 0:
            return None
        return max(math.floor((budget_ms - self.a_ms) / self.b_ms), 0)

    def agrees(self, other: CostModel) -> bool:
        """Whether two measurements of `further` differ by no more than their intervals explain together.

        The half widths add as squares. False where one has no interval.
        """
        if self.interval is None or other.interval is None:
            return False
        halves = ((high - low) / 2 for low, high in (self.interval, other.interval))
        return abs(self.further - other.further) <= math.hypot(*halves)

    def words(self) -> str:
        """The model in one line."""
        n = self.largest_n()
        between = "" if self.interval is None else " (95 % interval {:.1%} to {:.1%})".format(*self.interval)
        return (
            f"{self.a_ms:.1f} + {self.b_ms:.1f} N ms; a further iteration costs {self.further:.1%} of N = 1{between}; "
            f"the largest N under {FRAME_MS} ms: {'any' if n is None else n or 'none'}"
        )


def fit_cost(rounds_ms: Mapping[int, Sequence[float]]) -> CostModel | None:
    """Fits iteration count -> times (ms) in round order, as many at each; None with fewer than two different N.

    The interval comes from drawing rounds and fitting again. A round is drawn with all its N, because its times saw
    the same machine (`timing.grid_order`).
    """
    if len(rounds_ms) < 2:
        return None
    n, times = np.array(list(rounds_ms), float), np.array(list(rounds_ms.values()))
    b, a = np.polyfit(n, np.median(times, axis=1), 1)
    rounds = times.shape[1]
    if rounds < 2:
        return CostModel(float(a), float(b))
    drawn = np.median(times[:, resample(rounds)], axis=2)
    slopes, ordinates = np.polyfit(n, drawn, 1)
    low, high = np.quantile(slopes / (slopes + ordinates), TAILS)
    return CostModel(float(a), float(b), (float(low), float(high)))
