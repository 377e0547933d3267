"""What an iteration costs, and where an engine's time goes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nafnet_deploy.benchmarks.cost import CostModel, fit_cost
from nafnet_deploy.benchmarks.process_cost import measure_process
from nafnet_deploy.benchmarks.profile import read_events, read_layers
from nafnet_deploy.errors import EngineError


def test_a_straight_line_is_found_and_answers_the_budget() -> None:
    cost = fit_cost({n: [5.0 + 3.0 * n] * 4 for n in (1, 2, 3, 5)})
    assert cost is not None
    assert (cost.a_ms, cost.b_ms) == (pytest.approx(5.0), pytest.approx(3.0))
    assert cost.further == pytest.approx(3 / 8)
    assert cost.interval == pytest.approx((3 / 8, 3 / 8))
    assert [cost.largest_n(ms) for ms in (7.9, 8.1, 16.7)] == [0, 1, 3]
    assert "37.5% of N = 1 (95 % interval 37.5% to 37.5%); the largest N under 16.7 ms: 3" in cost.words()


def test_one_iteration_count_gives_no_line() -> None:
    assert fit_cost({3: [10.0, 11.0]}) is None


def test_one_round_says_nothing_of_the_uncertainty() -> None:
    cost = fit_cost({1: [10.0], 3: [14.0]})
    assert cost is not None
    assert cost.interval is None
    assert "interval" not in cost.words()


def _measured(rng: np.random.Generator, noise: float, true: float = 10.0, rounds: int = 20) -> CostModel:
    """The cost of an iteration (truly 10 %), where the machine swings from round to round."""
    swings = rng.lognormal(0.0, 0.3, rounds)
    times = {n: (90.0 + true * n) * swings * rng.lognormal(0.0, noise, rounds) for n in range(1, 6)}
    cost = fit_cost({n: row.tolist() for n, row in times.items()})
    assert cost is not None
    return cost


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_cost_of_an_iteration_measured_twice_agrees_within_its_stated_uncertainty(noise: float) -> None:
    rng = np.random.default_rng(0)
    pairs = [(_measured(rng, noise), _measured(rng, noise)) for _ in range(60)]
    assert sum(first.agrees(second) for first, second in pairs) >= 54
    intervals = [first.interval or (0.0, 0.0) for first, _ in pairs]
    assert sum(low <= 0.1 <= high for low, high in intervals) >= 51


def test_another_cost_does_not_agree_and_one_without_an_interval_with_nothing() -> None:
    rng = np.random.default_rng(1)
    cost, other = _measured(rng, 0.02), _measured(rng, 0.02, true=20.0)
    assert not cost.agrees(other)
    assert not cost.agrees(dataclasses.replace(cost, interval=None))


def test_iterations_that_cost_nothing_have_no_largest() -> None:
    cost = fit_cost({1: [10.0], 2: [10.0]})
    assert cost is not None
    assert cost.largest_n() is None
    assert cost.words().endswith("any")


def event(name: str, op: str, start: int, duration: int) -> dict[str, object]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": {"op_name": op}}


def test_operators_are_summed_over_all_runs_but_the_first() -> None:
    runs = [{"cat": "Session", "name": "model_run", "ts": start, "dur": 90} for start in (0, 100, 200)]
    nodes = [event("c1", "Conv", at + 1, 9000 if at == 0 else 3000) for at in (0, 100, 200)]
    nodes += [event("m1", "Mul", at + 2, 1000) for at in (0, 100, 200)]
    count, ops = read_events(json.dumps([*runs, *nodes]))
    assert count == 2
    assert [(op.op, op.count, op.ms, op.share) for op in ops] == [("Conv", 1, 3.0, 0.75), ("Mul", 1, 1.0, 0.25)]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '[{"name": "model_run", "ts": 1}]'])
def test_a_text_that_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="profile"):
        read_events(text)


def test_layers_of_a_plan_are_counted_by_kind() -> None:
    layers = [{"LayerType": "CaskConvolution"}, {"LayerType": "CaskConvolution"}, {"LayerType": "PointWise"}, "a"]
    assert [(op.op, op.count, op.ms) for op in read_layers(json.dumps({"Layers": layers}))] == [
        ("CaskConvolution", 2, None),
        ("PointWise", 1, None),
        ("layer", 1, None),
    ]
    with pytest.raises(EngineError, match="layers"):
        read_layers("nothing")


def test_a_process_that_fails_tells_its_last_line() -> None:
    with pytest.raises(EngineError, match="failed in a process of its own"):
        measure_process("nafnet_deploy.cli.bench_child", {"nothing": "of use"})
