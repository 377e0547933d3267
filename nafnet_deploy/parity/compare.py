"""Compares an engine's pictures with a reference's, iteration by iteration."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.adversarial import ADVERSARIAL
from nafnet_deploy.parity.golden import Case
from nafnet_deploy.parity.tolerance import NEARER, STATISTICS, Limits

EngineFactory = Callable[[int], Engine]
"""Opens the engine of a given number of iterations."""
Progress = Callable[[int, int], None]
"""Told how many steps are done, and how many there are."""
OnPair = Callable[[int, "Case", NDArray[Any], "Difference"], None]
"""Shown the iteration, the input with its reference, the picture compared with it, and what was found."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far a picture is from its reference. Values are absent when they would mean nothing."""

    max_abs_error: float | None
    """Largest absolute difference; None when the two cannot be compared."""
    mean_abs_error: float | None
    """Mean absolute difference; None when the two cannot be compared."""
    psnr: float | None
    """PSNR between the two (dB, range 1); None when they are equal (infinite) or cannot be compared."""
    fault: str
    """Why the comparison failed; empty when it passed."""
    p99_abs_error: float | None = None
    """99th percentile of the absolute differences; None when the two cannot be compared."""

    def error(self, stat: str) -> float | None:
        """The absolute error by one of `tolerance.STATISTICS`; None when the two cannot be compared."""
        return {"max": self.max_abs_error, "mean": self.mean_abs_error, "p99": self.p99_abs_error}[stat]

    @property
    def passed(self) -> bool:
        """Whether every limit held."""
        return not self.fault


@dataclasses.dataclass(frozen=True)
class ParityRow:
    """One comparison: one input at one iteration."""

    iteration: int
    """Reasoning iterations n of both pictures."""
    case: int
    """Number of the input, from 0."""
    shape: tuple[int, ...]
    """Input shape [B, C, H, W]."""
    difference: Difference
    """What was found."""
    name: str = ""
    """What the input shows."""
    change: float | None = None
    """What iteration n changes of the reference's picture, by the statistic of the limits; at n = 1 of the input.
    None where either cannot be compared."""


def compare_pictures(reference: NDArray[Any], picture: NDArray[Any], limits: Limits) -> Difference:
    """Judges a picture against its reference; a wrong shape or a value that is not finite is a failure."""
    if picture.shape != reference.shape:
        return Difference(None, None, None, f"the shape is {picture.shape}, not {reference.shape}")
    for name, array in (("reference", reference), ("engine's picture", picture)):
        if not np.isfinite(array).all():
            return Difference(None, None, None, f"the {name} holds values that are not finite")
    difference = np.abs(np.subtract(reference, picture, dtype=np.float64))
    found = {name: statistic(difference, name) for name in STATISTICS}
    judged = found[limits.stat]
    if limits.rtol:
        judged = statistic(difference - limits.rtol * np.abs(reference, dtype=np.float64), limits.stat)
    decibels = psnr(reference, picture)
    if not judged < limits.max_abs_error:
        beyond = f" beyond {limits.rtol:g} of the value" if limits.rtol else ""
        fault = f"{limits.stat} abs error{beyond} {judged:.2g} is not below {limits.max_abs_error:.2g}"
    elif limits.min_psnr is not None and not decibels >= limits.min_psnr:
        fault = f"the pictures agree to {decibels:.1f} dB, which is below {limits.min_psnr:g} dB"
    else:
        fault = ""
    return Difference(
        max_abs_error=found["max"],
        mean_abs_error=found["mean"],
        psnr=decibels if math.isfinite(decibels) else None,
        fault=fault,
        p99_abs_error=found["p99"],
    )


def statistic(values: NDArray[Any], name: str) -> float:
    """`max`, `mean` or `p99` of all values."""
    if name == "p99":
        return float(np.percentile(values, 99))
    return float(values.max() if name == "max" else values.mean())


def _change(case: Case, n: int, stat: str) -> float | None:
    """What iteration n changes of the picture of iteration n - 1, or of the input."""
    before, after = case.batch if n == 1 else case.pictures[n - 2], case.pictures[n - 1]
    if before.shape != after.shape or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return None
    return statistic(np.abs(np.subtract(after, before, dtype=np.float64)), stat)


def _taken_for(case: Case, n: int, picture: NDArray[Any]) -> int | None:
    """The iteration of the reference that a picture is clearly nearer to than to its own; None when there is none."""
    if case.name in ADVERSARIAL:  # flat pictures hardly change, and rounding moves all their pixels the same way
        return None
    away = [float(np.square(np.subtract(picture, p, dtype=np.float64)).mean()) for p in case.pictures]
    nearest = int(np.argmin(away)) + 1
    return nearest if math.sqrt(away[nearest - 1]) < NEARER * math.sqrt(away[n - 1]) else None


def _blame_iteration(rows: list[ParityRow], taken: list[int | None], n: int) -> list[ParityRow]:
    """Fails the comparisons of iteration n when every ordinary picture of it is another iteration's.

    Iterations may change less than half precision's limits allow, and then one that is missing passes them.
    """
    ordinary = [m for row, m in zip(rows, taken, strict=True) if row.name not in ADVERSARIAL]
    if not ordinary or None in ordinary:
        return rows
    return [
        row
        if m is None or not row.difference.passed
        else dataclasses.replace(
            row,
            difference=dataclasses.replace(
                row.difference,
                fault=f"the picture is nearer to the reference's iteration {m} than to {n}: one is missing or repeated",
            ),
        )
        for row, m in zip(rows, taken, strict=True)
    ]


def compare_engine(
    cases: Sequence[Case],
    open_at: EngineFactory,
    iterations: Iterable[int],
    limits: Limits,
    on_progress: Progress | None = None,
    on_pair: OnPair | None = None,
) -> tuple[str, tuple[ParityRow, ...]]:
    """Runs the engine of every iteration on every input; each engine is opened once and closed after use.

    Args:
        cases: inputs with the reference's pictures; each holds at least max(`iterations`) pictures.
        open_at: opens the engine that runs n iterations; it has one input and one output.
        iterations: the n to compare.
        limits: what passes.
        on_progress: told (comparisons done, comparisons in all) after each.
        on_pair: shown every comparison, e.g. to draw it.

    Returns:
        The engine's own name, and a row per iteration and input, in that order.

    Raises:
        EngineError: the engine does not open or does not take an input.
    """
    steps = tuple(iterations)
    name, rows = "", list[ParityRow]()
    for n in steps:
        found, taken = list[ParityRow](), list[int | None]()
        with open_at(n) as engine:
            name = engine.name
            for i, case in enumerate(cases):
                picture = restore_batch(engine, case.batch)
                difference = compare_pictures(case.pictures[n - 1], picture, limits)
                change = _change(case, n, limits.stat)
                found.append(ParityRow(n, i, case.batch.shape, difference, case.name, change))
                taken.append(None if difference.max_abs_error is None else _taken_for(case, n, picture))
                if on_pair is not None:
                    on_pair(n, case, picture, difference)
                if on_progress is not None:
                    on_progress(len(rows) + len(found), len(steps) * len(cases))
        rows += _blame_iteration(found, taken, n)
    return name, tuple(rows)
