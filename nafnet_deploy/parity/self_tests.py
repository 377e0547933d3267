"""What an engine must do whatever the right answer is: rows that do not leak, runs that agree, finite values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.adversarial import ADVERSARIAL, adversarial_batch
from nafnet_deploy.parity.choice import Input, Shape, ranged, taken_by
from nafnet_deploy.parity.compare import compare_pictures
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes
from nafnet_deploy.parity.tolerance import Limits

SIZES = ((32, 48), (64, 64), (256, 256))
"""Heights and widths (pixels) that are tried, in order, until the engine takes one."""
REPEAT, EQUAL, PERMUTED, FINITE = "two runs agree", "equal rows", "permuted batch", "finite values"


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """One property of an engine."""

    name: str
    """What must hold."""
    verdict: str
    """`pass`, `fail` or `not checked`."""
    detail: str
    """What was found, or why it was not checked."""
    value: float | None = None
    """The measured figure, where there is one."""
    limit: float | None = None
    """What it was held against."""


def guarded(name: str, test: Callable[[], SelfTest]) -> SelfTest:
    """The outcome of a test; an engine that fails on an input it must take has failed the test."""
    try:
        return test()
    except EngineError as error:
        return SelfTest(name, "fail", error.message.rstrip("."))


def batch_tests(
    engine: Engine, manifest: ModelManifest, limits: Limits, pictures: Sequence[Input] = ()
) -> tuple[SelfTest, ...]:
    """Repeats, copies and reorders a batch, and looks for values that are not finite.

    Args:
        engine: open, with one input and one output.
        manifest: the contract of its graph.
        limits: how far two answers to the same question may differ.
        pictures: inputs that must give finite values, besides the adversarial ones.
    """
    several = shape_for(engine, manifest, (3, 2))
    single = several or shape_for(engine, manifest, (1,))
    if single is None:
        reason = "the engine takes none of the usual shapes"
        return tuple(SelfTest(name, "not checked", reason) for name in (REPEAT, EQUAL, PERMUTED, FINITE))
    batch = ranged(natural_batch(single, seed=11), manifest)
    tests = [guarded(REPEAT, lambda: _repeat(engine, batch, limits))]
    if several is None:
        reason = "the engine takes one picture at a time"
        tests += [SelfTest(name, "not checked", reason) for name in (EQUAL, PERMUTED)]
    else:
        tests.append(guarded(EQUAL, lambda: _equal_rows(engine, batch, limits)))
        tests.append(guarded(PERMUTED, lambda: _permuted(engine, batch, limits)))
    inputs = [Input(name, ranged(adversarial_batch(name, single), manifest)) for name in ADVERSARIAL]
    return (*tests, guarded(FINITE, lambda: _finite(engine, [*inputs, *pictures])))


def shape_for(engine: Engine, manifest: ModelManifest, batches: Sequence[int]) -> Shape | None:
    """The first of `SIZES` and batch sizes that graph and engine take; None where they take none."""
    for batch in batches:
        for shape in parity_shapes(manifest, SIZES, (batch,)):
            trial = Input("", np.zeros(shape, np.float32))
            if shape[0] in batches and taken_by(engine, [trial]):
                return shape
    return None


def judged(name: str, reference: NDArray[np.float32], picture: NDArray[np.float32], limits: Limits) -> SelfTest:
    """The verdict on two answers that must agree."""
    if not (np.isfinite(reference).all() and np.isfinite(picture).all()):
        return SelfTest(name, "fail", "the answer holds values that are not finite", None, limits.max_abs_error)
    found = compare_pictures(reference, picture, limits)
    value = found.error(limits.stat)
    same = "equal bit for bit" if found.max_abs_error == 0 else f"{limits.stat} difference {value or 0:.2g}"
    return SelfTest(name, "pass" if found.passed else "fail", found.fault or same, value, limits.max_abs_error)


def _repeat(engine: Engine, batch: NDArray[np.float32], limits: Limits) -> SelfTest:
    return judged(REPEAT, np.array(restore_batch(engine, batch)), restore_batch(engine, batch), limits)


def _equal_rows(engine: Engine, batch: NDArray[np.float32], limits: Limits) -> SelfTest:
    copies = np.ascontiguousarray(np.broadcast_to(batch[:1], batch.shape))
    answer = restore_batch(engine, copies)
    return judged(EQUAL, np.broadcast_to(answer[:1], answer.shape), answer, limits)


def _permuted(engine: Engine, batch: NDArray[np.float32], limits: Limits) -> SelfTest:
    answer = np.array(restore_batch(engine, batch))
    rolled = restore_batch(engine, np.ascontiguousarray(np.roll(batch, 1, axis=0)))
    return judged(PERMUTED, np.roll(answer, 1, axis=0), rolled, limits)


def _finite(engine: Engine, inputs: Sequence[Input]) -> SelfTest:
    for given in inputs:
        if not np.isfinite(restore_batch(engine, given.batch)).all():
            return SelfTest(FINITE, "fail", f"{given.name} gives values that are not finite")
    return SelfTest(FINITE, "pass", f"{len(inputs)} inputs, adversarial ones among them")
