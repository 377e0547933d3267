"""What happens from one iteration to the next: growth, usefulness, and iterations that drown or go missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nafnet_deploy.parity.chain import FAIL, HALF, PASS, Link, checked
from nafnet_deploy.parity.compare import compare_engine
from nafnet_deploy.parity.golden import Case
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.tolerance import LIMITS, Limits
from tests import toy

N = 4
CHANGES = (0.1, 0.01, 0.001, 0.0001)
"""What each iteration adds to every other pixel."""


def answer(x: NDArray[Any], n: int) -> NDArray[Any]:
    return np.asarray(x + sum(CHANGES[:n]) * (np.indices(x.shape[2:]).sum(axis=0) % 2), np.float32)


def link(function: toy.Network, limits: Limits = LIMITS["fp16"]) -> Link:
    batches = [natural_batch((b, 3, 24, 32), seed=b) for b in (1, 2)]
    cases = [Case(x, tuple(answer(x, n) for n in range(1, N + 1)), "natural") for x in batches]
    black = np.zeros((1, 3, 16, 16), np.float32)
    cases.append(Case(black, tuple(answer(black, n) for n in range(1, N + 1)), "black"))
    name, rows = compare_engine(cases, lambda n: toy.ToyEngine(function, n), range(1, N + 1), limits)
    return checked(HALF, "toy", name, limits, rows)


def rounded(x: NDArray[Any], n: int, size: float = 3e-4) -> NDArray[Any]:
    """The answer with an error that every iteration doubles."""
    noise = np.random.default_rng(n).choice([-1.0, 1.0], size=x.shape)
    return np.asarray(answer(x, n) + size * 2 ** (n - 1) * noise, np.float32)


def test_error_change_and_growth_are_those_that_were_made() -> None:
    steps = link(rounded).steps
    assert [step.iteration for step in steps] == [1, 2, 3, 4]
    assert [step.error for step in steps] == pytest.approx([3e-4, 6e-4, 12e-4, 24e-4], rel=1e-3)
    assert [step.change for step in steps] == pytest.approx(CHANGES, rel=1e-3)
    assert steps[0].growth is None
    assert [step.growth for step in steps[1:]] == pytest.approx([2, 2, 2], rel=1e-3)


def test_iterations_that_change_less_than_the_error_are_named_and_are_no_failure() -> None:
    found = link(lambda x, n: rounded(x, 1) - answer(x, 1) + answer(x, n))
    assert found.verdict == PASS
    assert [step.useful for step in found.steps] == [True, True, True, False]
    assert found.drowned == (4,)


def test_adversarial_inputs_count_for_the_worst_error_and_not_for_the_ordinary_one() -> None:
    found = link(lambda x, n: answer(x, n) + np.float32(0 if x.any() else 0.01), Limits(0.1))
    assert [step.worst_error for step in found.steps] == pytest.approx([0.01] * N)
    assert [step.error for step in found.steps] == [0.0] * N
    assert [step.useful for step in found.steps] == [True] * N


def test_an_exact_iteration_has_no_growth_after_it() -> None:
    assert [step.growth for step in link(answer).steps] == [None] * N


@pytest.mark.parametrize("dropped", [2, 3, 4])
def test_a_dropped_iteration_is_found_where_the_limits_would_let_it_pass(dropped: int) -> None:
    generous = Limits(max_abs_error=0.05, min_psnr=20.0)
    found = link(lambda x, n: answer(x, n if n < dropped else n - 1), generous)
    assert found.verdict == FAIL
    assert {row.iteration for row in found.failures} == set(range(dropped, N + 1))
    assert f"nearer to the reference's iteration {dropped - 1} than to {dropped}" in found.fault()


def test_an_iteration_too_many_is_found() -> None:
    found = link(lambda x, n: answer(x, min(n + 1, N)), Limits(0.05))
    assert {row.iteration for row in found.failures} == {1, 2, 3}


def test_rounding_larger_than_every_change_is_not_taken_for_a_dropped_iteration() -> None:
    found = link(lambda x, n: rounded(x, n, 2e-3), Limits(0.05))
    assert found.verdict == PASS
    assert found.drowned == (3, 4)
