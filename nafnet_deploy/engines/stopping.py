"""When a split bundle stops thinking: after a number of iterations, when they change too little, or in time."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.manifest import Stopping

REMEMBERED = 32
"""How many of the last times of a part a forecast looks at."""
CAUTION = 0.95
"""The quantile of these times that a forecast takes: one step in twenty is slower than it says."""


@dataclasses.dataclass(frozen=True)
class StopRule:
    """Decides per picture whether another iteration runs.

    Raises:
        ConfigError: fewer than one iteration, or a threshold that is not a positive number.
    """

    max_iterations: int
    """Iterations after which it stops in any case."""
    until_delta: float | None = None
    """Stop when an iteration changed the picture by less (root mean square, black to white is 1); None never does."""
    stopping: Stopping = dataclasses.field(default_factory=lambda: Stopping(1.0))
    """How the bundle's `delta` relates to the picture."""

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ConfigError(f"{self.max_iterations} iterations are impossible.", "Use --iters 1 or more.")
        if self.until_delta is not None and not (math.isfinite(self.until_delta) and self.until_delta > 0):
            raise ConfigError(f"--until-delta {self.until_delta} is impossible.", "Use a positive number, e.g. 1e-3.")

    def change(self, delta: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Estimated change of the picture (root mean square, 0 to 1) for the `delta` [B] of a step."""
        return delta.astype(np.float64) * self.stopping.picture_per_state

    def done(self, n: int, delta: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which pictures [B] stop after iteration n, whose step gave `delta` [B]."""
        if n >= self.max_iterations:
            return np.ones(len(delta), np.bool_)
        if self.until_delta is None:
            return np.zeros(len(delta), np.bool_)
        return np.asarray(self.change(delta) < self.until_delta)


class Clock:
    """The times that the parts of a network took, per shape of the input, and what they will take."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, tuple[int, ...]], deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def record(self, part: str, shape: tuple[int, ...], seconds: float) -> None:
        """Remembers one run of a part at an input shape [B, C, H, W]."""
        self._times[part, shape].append(seconds)

    def knows(self, parts: Iterable[str], shape: tuple[int, ...]) -> bool:
        """Whether every part has been timed at that shape."""
        return all(self._times.get((part, shape)) for part in parts)

    def forecast(self, part: str, shape: tuple[int, ...], quantile: float = CAUTION) -> float:
        """Seconds that the part will take at that shape, not more in that share of turns; it must be known."""
        return float(np.quantile(self._times[part, shape], quantile))


@dataclasses.dataclass
class Budget:
    """Time for the network per picture, all its tiles together.

    Raises:
        ConfigError: a budget that is not a positive number.
    """

    seconds: float
    """The budget."""
    best_effort: bool = False
    """Run one iteration per tile even where that alone takes longer."""
    runs_left: int = 1
    """Tiles of this picture that have not been run."""
    spent: float = 0.0
    """Seconds used for the tiles that have."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"--budget-ms {self.seconds * 1e3:g} is impossible.", "Use a positive number.")

    @property
    def share(self) -> float:
        """Seconds for the next tile: what is left, divided evenly."""
        return (self.seconds - self.spent) / max(self.runs_left, 1)
