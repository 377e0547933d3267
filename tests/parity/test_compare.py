"""Honest engines pass; every planted fault is caught, at the iteration where it acts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.parity.compare import ParityRow, compare_engine, compare_pictures
from nafnet_deploy.parity.golden import Case
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.tolerance import LIMITS, limits_for
from tests import toy

N = 4


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    batches = [natural_batch((b, 3, 24, 32), seed=b) for b in (1, 3)]
    return [Case(batch, tuple(toy.pictures(batch, N))) for batch in batches]


def rows_of(cases: list[Case], function: toy.Network) -> tuple[ParityRow, ...]:
    return compare_engine(cases, lambda n: toy.ToyEngine(function, n), range(1, N + 1), LIMITS["fp32"])[1]


def failed(rows: tuple[ParityRow, ...]) -> set[int]:
    return {row.iteration for row in rows if not row.difference.passed}


def test_an_honest_engine_passes(cases: list[Case]) -> None:
    def rounded(x: NDArray[Any], n: int) -> NDArray[Any]:
        return toy.network(x, n) + np.float32(3e-7)

    rows = rows_of(cases, rounded)
    assert failed(rows) == set()
    assert [(row.iteration, row.case) for row in rows] == [(n, i) for n in range(1, N + 1) for i in (0, 1)]
    assert all(row.difference.max_abs_error == pytest.approx(3e-7, rel=0.5) for row in rows)
    assert all(row.difference.psnr is not None and row.difference.psnr > 100 for row in rows)


def test_equal_pictures_have_no_finite_psnr(cases: list[Case]) -> None:
    assert all(row.difference.max_abs_error == 0 and row.difference.psnr is None for row in rows_of(cases, toy.network))


def test_a_perturbed_weight(cases: list[Case]) -> None:
    weights = toy.WEIGHTS.copy()
    weights[1, 1] += 1e-3
    assert failed(rows_of(cases, lambda x, n: toy.network(x, n, weights))) == {1, 2, 3, 4}


def test_swapped_channels(cases: list[Case]) -> None:
    assert failed(rows_of(cases, lambda x, n: toy.network(x, n)[:, [2, 1, 0]])) == {1, 2, 3, 4}


def test_a_dropped_iteration(cases: list[Case]) -> None:
    assert failed(rows_of(cases, lambda x, n: toy.network(x, n - (n > 2)))) == {3, 4}


def test_a_leak_between_the_rows_of_a_batch(cases: list[Case]) -> None:
    rows = rows_of(cases, lambda x, n: np.broadcast_to(toy.network(x[:1], n), x.shape))
    assert {row.case for row in rows if not row.difference.passed} == {1}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite(cases: list[Case], value: float) -> None:
    def broken(x: NDArray[Any], n: int) -> NDArray[Any]:
        y = toy.network(x, n)
        if n == 2:
            y[0, 0, 0, 0] = value
        return y

    rows = rows_of(cases, broken)
    assert failed(rows) == {2}
    assert all("engine's picture" in r.difference.fault and "not finite" in r.difference.fault for r in rows[2:4])


def test_a_reference_that_is_not_finite_agrees_with_nobody() -> None:
    nan = np.full((1, 3, 4, 4), np.nan)
    assert "reference" in compare_pictures(nan, nan, LIMITS["fp32"]).fault


def test_a_wrong_shape(cases: list[Case]) -> None:
    rows = rows_of(cases, lambda x, n: toy.network(x, n)[..., :-1])
    assert failed(rows) == {1, 2, 3, 4}
    assert "shape" in rows[0].difference.fault


def test_the_limit_itself_does_not_pass() -> None:
    zero, limits = np.zeros((1, 1, 1, 1)), LIMITS["fp32"]
    assert not compare_pictures(zero, zero + limits.max_abs_error, limits).passed
    assert compare_pictures(zero, zero + 0.99 * limits.max_abs_error, limits).passed


def test_engines_are_opened_once_per_iteration_closed_and_progress_is_told(cases: list[Case]) -> None:
    opened: list[toy.ToyEngine] = []

    def open_at(n: int) -> toy.ToyEngine:
        opened.append(toy.ToyEngine(toy.network, n))
        return opened[-1]

    told: list[tuple[int, int]] = []
    name, _ = compare_engine(cases, open_at, (1, 3), LIMITS["fp32"], lambda done, total: told.append((done, total)))
    assert name == "toy cpu"
    assert [engine.iterations for engine in opened] == [1, 3]
    assert all(engine.closed and engine.runs == 2 for engine in opened)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_limits_are_a_table() -> None:
    assert limits_for("fp32").max_abs_error == 2e-5
    with pytest.raises(ConfigError, match="fp23"):
        limits_for("fp23")


def test_half_limits_ask_for_60_db_and_for_no_lone_wrong_pixel() -> None:
    limits = limits_for("fp16")
    flat = np.zeros((1, 3, 64, 64))
    assert compare_pictures(flat, flat + 0.0009, limits).passed
    assert "below 60 dB" in compare_pictures(flat, flat + 0.0011, limits).fault
    lone = flat.copy()
    lone[0, 0, 5, 5] = 0.03  # 86 dB on average
    assert "max abs error" in compare_pictures(flat, lone, limits).fault
    assert "finite" in compare_pictures(flat, flat * np.nan, limits).fault
    assert compare_pictures(flat, flat, limits).passed
