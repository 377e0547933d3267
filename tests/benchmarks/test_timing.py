"""Interleaving and statistics."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from nafnet_deploy.benchmarks.statistics import Ratio, frames_per_second, speed_ratio, summarize
from nafnet_deploy.benchmarks.timing import grid_order, round_order, time_interleaved
from nafnet_deploy.errors import UsageError


def test_two_engines_take_turns_at_going_first() -> None:
    calls: list[str] = []
    turns: list[int] = []
    times = time_interleaved(
        {name: lambda name=name: calls.append(name) for name in "AB"},  # type: ignore[misc]
        runs=4,
        warmup=2,
        on_turn=lambda: turns.append(1),
    )
    assert "".join(calls) == "ABBA" + "ABBAABBA"
    assert len(turns) == 12
    assert {name: len(values) for name, values in times.items()} == {"A": 4, "B": 4}


@pytest.mark.parametrize("steps", [(3,), (1, 2), (1, 2, 3, 4, 5), (2, 3, 5, 8)])
@pytest.mark.parametrize("labels", ["A", "AB", "ABC"])
def test_every_round_holds_every_engine_at_every_iteration_and_none_has_a_better_place(
    steps: tuple[int, ...], labels: str
) -> None:
    rounds = [grid_order(steps, labels, number) for number in range(len(steps) * len(labels))]
    keys = sorted((n, label) for n in steps for label in labels)
    assert all(sorted(order) == keys for order in rounds)
    assert len({sum(order.index(key) for order in rounds) for key in keys}) == 1
    for order in rounds:  # engines that are compared are neighbours in time
        assert [n for n, _ in order[:: len(labels)] for _ in labels] == [n for n, _ in order]


def test_an_order_of_our_own_is_followed() -> None:
    calls: list[str] = []
    work = {name: lambda name=name: calls.append(name) for name in "AB"}  # type: ignore[misc]
    times = time_interleaved(work, runs=2, warmup=1, order=lambda number: "BA" if number == 0 else "AB")
    assert "".join(calls) == "ABBAAB"
    assert {name: len(values) for name, values in times.items()} == {"A": 2, "B": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_engine_takes_every_place_once(count: int) -> None:
    names = tuple("ABCDE"[:count])
    rounds = [round_order(names, number) for number in range(7, 7 + count)]
    for place in range(count):
        assert sorted(order[place] for order in rounds) == list(names)


def test_the_collector_is_off_while_timing_and_restored_after_a_failure() -> None:
    seen: list[bool] = []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        time_interleaved({"A": fail}, runs=1, warmup=0)
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize(("runs", "warmup", "pause"), [(0, 1, 0), (-1, 0, 0), (1, -1, 0), (1, 0, -0.1)])
def test_rounds_that_are_impossible(runs: int, warmup: int, pause: float) -> None:
    with pytest.raises(UsageError, match="cannot be timed"):
        time_interleaved({"A": lambda: None}, runs, warmup, pause=pause)


def test_the_rest_before_each_turn_is_not_part_of_the_measured_time() -> None:
    started = time.perf_counter()
    times = time_interleaved({name: lambda: None for name in "AB"}, runs=2, warmup=1, pause=0.02)
    assert time.perf_counter() - started >= 6 * 0.02
    assert min(min(values) for values in times.values()) < 0.02e9


def test_statistics_are_those_of_numpy() -> None:
    times = np.random.default_rng(0).gamma(3.0, 10.0, 31)
    found = summarize(times.tolist())
    assert found.n == 31
    assert found.min_ms == times.min()
    assert found.median_ms == pytest.approx(np.median(times))
    assert found.p90_ms == pytest.approx(np.percentile(times, 90))
    assert (found.p95_ms, found.p99_ms) == pytest.approx(tuple(np.percentile(times, (95, 99))))
    assert found.mean_ms == pytest.approx(times.mean())
    assert found.std_ms == pytest.approx(np.std(times, ddof=1))
    assert summarize([5.0]).std_ms == 0.0


def test_frames_per_second() -> None:
    assert frames_per_second(25.0, 1) == 40.0
    assert frames_per_second(50.0, 4) == 80.0


def test_the_ratio_of_each_round_cancels_what_both_sides_share() -> None:
    load = np.random.default_rng(1).uniform(1.0, 4.0, 25)
    ratio = speed_ratio((30.0 * load).tolist(), (15.0 * load).tolist())
    assert (ratio.q1, ratio.median, ratio.q3) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio.of_medians == pytest.approx(2.0)


def test_quartiles_of_the_ratio() -> None:
    ratio = speed_ratio([2.0, 4.0, 6.0, 8.0, 10.0], [2.0] * 5)
    assert (ratio.q1, ratio.median, ratio.q3) == (2.0, 3.0, 4.0)


def _measured(rng: np.random.Generator, true: float, noise: float, rounds: int = 20) -> Ratio:
    shared = rng.lognormal(0.0, 0.3, rounds)  # the machine's swings, which both sides of a round see
    slow = true * shared * rng.lognormal(0.0, noise, rounds)
    return speed_ratio(slow.tolist(), (shared * rng.lognormal(0.0, noise, rounds)).tolist())


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_benchmark_run_twice_agrees_within_its_stated_uncertainty(noise: float) -> None:
    rng = np.random.default_rng(0)
    pairs = [(_measured(rng, 2.0, noise), _measured(rng, 2.0, noise)) for _ in range(100)]
    assert sum(first.agrees(second) for first, second in pairs) >= 90
    assert sum(first.low <= 2.0 <= first.high for first, _ in pairs) >= 85
    assert all(ratio.low <= ratio.median <= ratio.high for pair in pairs for ratio in pair)


def test_another_ratio_does_not_agree() -> None:
    rng = np.random.default_rng(1)
    assert not _measured(rng, 2.0, 0.05).agrees(_measured(rng, 2.5, 0.05))


def test_the_same_times_give_the_same_interval() -> None:
    assert speed_ratio([3.0, 4.0, 5.0], [1.0, 2.0, 2.0]) == speed_ratio([3.0, 4.0, 5.0], [1.0, 2.0, 2.0])
