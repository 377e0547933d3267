"""What an iteration costs: a straight line through the times of N = 1, 2, ..., and what follows from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

FRAME_MS = 16.7
"""One frame at 60 per second."""


@dataclasses.dataclass(frozen=True)
class CostModel:
    """time = a + b N, least squares over the medians."""

    a_ms: float
    """What does not depend on N."""
    b_ms: float
    """What each iteration adds."""
    error_ms: float | None = None
    """Standard error of b, from how far the times lie off the line; None with two N, which always lie on it.

    Not the difference that another run may show: a drift that bends with N moves the slope and stays on the line.
    """

    @property
    def further(self) -> float:
        """What a further iteration costs, as a share of N = 1."""
        return self.b_ms / (self.a_ms + self.b_ms)

    def largest_n(self, budget_ms: float = FRAME_MS) -> int | None:
        """The largest N under the budget, 0 when not even one fits; None when more iterations cost nothing."""
        if self.b_ms <= 0:
            return None
        return max(math.floor((budget_ms - self.a_ms) / self.b_ms), 0)

    def words(self) -> str:
        """The model in one line."""
        n = self.largest_n()
        off = "" if self.error_ms is None else f" (standard error {self.error_ms / (self.a_ms + self.b_ms):.1%})"
        return (
            f"{self.a_ms:.1f} + {self.b_ms:.1f} N ms; a further iteration costs {self.further:.0%} of N = 1{off}; "
            f"the largest N under {FRAME_MS} ms: {'any' if n is None else n or 'none'}"
        )


def fit_cost(median_ms: Mapping[int, float]) -> CostModel | None:
    """Fits iteration count -> median time (ms); None with fewer than two different N."""
    if len(median_ms) < 2:
        return None
    n, times = np.array(list(median_ms), float), np.array(list(median_ms.values()))
    b, a = np.polyfit(n, times, 1)
    error = None
    if len(n) > 2:
        error = float(np.sqrt(np.sum((times - a - b * n) ** 2) / (len(n) - 2) / np.sum((n - n.mean()) ** 2)))
    return CostModel(float(a), float(b), error)
