"""What happens from one iteration to the next: error, its growth, and whether the iteration still changes anything."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from nafnet_deploy.parity.adversarial import ADVERSARIAL
from nafnet_deploy.parity.compare import ParityRow


@dataclasses.dataclass(frozen=True)
class Step:
    """One iteration, over all inputs of a comparison."""

    iteration: int
    """n, from 1."""
    worst_error: float | None
    """Largest error of any input, by the statistic of the limits; None where one could not be compared."""
    error: float | None
    """Error of an ordinary input: the mean over those that are not adversarial, of which some change nothing."""
    growth: float | None
    """`error` over that of the iteration before; None at the first one compared and where that one has no error."""
    change: float | None
    """What the iteration changes of the reference's picture, by the same statistic, mean over the same inputs."""
    useful: bool | None
    """Whether the change exceeds the error; None where either is unknown. Otherwise it drowns in rounding."""


def steps_of(rows: Sequence[ParityRow], stat: str) -> tuple[Step, ...]:
    """One `Step` per iteration of a comparison.

    Args:
        rows: what `compare_engine` returned.
        stat: the statistic of the limits it was given.
    """
    found: list[Step] = []
    for n in sorted({row.iteration for row in rows}):
        here = [row for row in rows if row.iteration == n]
        ordinary = [row for row in here if row.name not in ADVERSARIAL] or here
        error = _over([row.difference.error(stat) for row in ordinary], statistics.fmean)
        change = _over([row.change for row in ordinary], statistics.fmean)
        before = found[-1].error if found and found[-1].iteration == n - 1 else None
        found.append(
            Step(
                iteration=n,
                worst_error=_over([row.difference.error(stat) for row in here], max),
                error=error,
                growth=None if error is None or not before else error / before,
                change=change,
                useful=None if error is None or change is None else change > error,
            )
        )
    return tuple(found)


def _over(values: list[float | None], function: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return function(known) if len(known) == len(values) else None
