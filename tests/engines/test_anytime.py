"""Engines that decide while they run: thresholds, batches, budgets and states that break."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_anytime
from nafnet_deploy.engines.stopping import Budget, Clock, StopRule
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import STEP, ModelManifest, Stopping
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.released import find_bundle


class Scripted:
    """A stepper whose deltas are written down: row r of iteration n changes by deltas[r][n - 1]; its picture is n."""

    name = "scripted cpu"

    def __init__(self, deltas: Sequence[Sequence[float]]) -> None:
        self.deltas, self.active, self.n = np.array(deltas, np.float32), np.arange(len(deltas)), 0
        self.sizes: list[int] = []

    def begin(self, batch: NDArray[Any]) -> None:
        self.active, self.n = np.arange(len(batch)), 0

    def step(self) -> NDArray[np.float32]:
        self.n += 1
        self.sizes.append(len(self.active))
        changed: NDArray[np.float32] = self.deltas[self.active, self.n - 1]
        return changed

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        values = self.active[list(rows)] * 100 + self.n - previous
        return np.tile(values.astype(np.float32)[:, None, None, None], (1, 3, 4, 4))

    def keep(self, rows: Sequence[int]) -> None:
        self.active = self.active[list(rows)]

    def close(self) -> None:
        self.active = np.arange(0)


@pytest.fixture(scope="session")
def manifest(tiny_split: Path) -> ModelManifest:
    return find_bundle(tiny_split).manifest


def run(engine: AnytimeEngine, rows: int) -> NDArray[np.float32]:
    return restore_batch(engine, np.zeros((rows, 3, 4, 4), np.float32))


def test_rows_that_are_done_drop_out_and_come_back_in_their_places(manifest: ModelManifest) -> None:
    stepper = Scripted([[0.9, 0.1, 0.1, 0.1], [0.1, 9, 9, 9], [0.9, 0.9, 0.9, 0.9]])
    engine = AnytimeEngine(stepper, manifest, StopRule(4, until_delta=0.5))
    result = run(engine, 3)
    assert result[:, 0, 0, 0].tolist() == [2, 101, 204]
    assert [o.iterations for o in engine.outcomes] == [2, 1, 4]
    assert [round(o.change, 3) for o in engine.outcomes] == [0.1, 0.1, 0.9]
    assert stepper.sizes == [3, 2, 1, 1]


class Whole(Scripted):
    """A stepper of a fixed batch: as engines do, it refuses any other."""

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        assert list(rows) == list(range(len(self.deltas)))
        return super().picture(rows, previous)

    def keep(self, rows: Sequence[int]) -> None:
        raise AssertionError("rows cannot be dropped")


def test_rows_of_a_fixed_batch_are_taken_when_they_are_done(manifest: ModelManifest) -> None:
    spec = dataclasses.replace(manifest.inputs[0], shape=(3, *manifest.inputs[0].shape[1:]))
    stepper = Whole([[0.9, 0.1, 9, 9], [0.1, np.nan, 9, 9], [0.9, 0.9, np.nan, 9]])
    engine = AnytimeEngine(stepper, dataclasses.replace(manifest, inputs=(spec,)), StopRule(4, until_delta=0.5))
    result = run(engine, 3)
    assert result[:, 0, 0, 0].tolist() == [2, 101, 202]
    assert [o.iterations for o in engine.outcomes] == [2, 1, 2]
    assert [bool(o.fault) for o in engine.outcomes] == [False, False, True]


def test_a_threshold_speaks_of_the_picture(manifest: ModelManifest) -> None:
    engine = AnytimeEngine(Scripted([[1.0, 0.25, 0.125]]), manifest, StopRule(3, 0.6, Stopping(2.0)))
    run(engine, 1)
    assert engine.outcomes[0].iterations == 2  # 2 * 0.25 < 0.6


def test_a_state_that_breaks_ends_with_the_last_finite_picture(manifest: ModelManifest) -> None:
    engine = AnytimeEngine(Scripted([[1, 1, np.nan, 1], [1, 1, 1, 1]]), manifest, StopRule(4))
    result = run(engine, 2)
    assert result[:, 0, 0, 0].tolist() == [2, 104]
    assert engine.outcomes[0].fault == "the state was not finite after iteration 3"
    assert engine.outcomes[1].fault == ""


def test_a_state_that_breaks_at_once_is_an_error(manifest: ModelManifest) -> None:
    with pytest.raises(EngineError, match="not finite after the first iteration"):
        run(AnytimeEngine(Scripted([[np.inf]]), manifest, StopRule(4)), 1)


def test_real_rows_stop_alone_as_they_do_together(tiny_split: Path) -> None:
    batch = np.concatenate([np.zeros((1, 3, 32, 32), np.float32), natural_batch((2, 3, 32, 32), 5)])
    bundle = find_bundle(tiny_split)
    assert bundle.manifest.stopping is not None
    with open_anytime("onnxruntime", bundle, StopRule(8, stopping=bundle.manifest.stopping)) as engine:
        curve = [g.change for g in engine.iterate({"input": batch})]
    between = float(np.sort(curve[3])[1] + np.sort(curve[3])[2]) / 2  # some rows stop after it, some do not
    with open_anytime("auto", bundle, StopRule(8, between, stopping=bundle.manifest.stopping)) as engine:
        together = restore_batch(engine, batch)
        counts = [o.iterations for o in engine.outcomes]
        engine.announce(3)
        alone = np.concatenate([restore_batch(engine, row[None]) for row in batch])
        assert [o.iterations for o in engine.outcomes] == counts
    assert len(set(counts)) > 1
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_results_are_the_same_bits_every_time(tiny_split: Path) -> None:
    batch = natural_batch((2, 3, 32, 40), 3)
    with open_anytime("onnxruntime", find_bundle(tiny_split), StopRule(8, 1e-2)) as engine:
        first = restore_batch(engine, batch)
        counts = [o.iterations for o in engine.outcomes]
        for _ in range(3):
            engine.announce(1)
            assert (restore_batch(engine, batch) == first).all()
            assert [o.iterations for o in engine.outcomes] == counts


def test_every_glimpse_is_the_picture_of_that_many_iterations(tiny_split: Path) -> None:
    batch = natural_batch((2, 3, 32, 40), 3)
    bundle = find_bundle(tiny_split)
    with open_anytime("onnxruntime", bundle, StopRule(4)) as engine:
        glimpses = list(engine.iterate({"input": batch}))
    assert [g.iteration for g in glimpses] == [1, 2, 3, 4]
    for glimpse in glimpses:
        with open_anytime("onnxruntime", bundle, StopRule(glimpse.iteration)) as engine:
            assert (restore_batch(engine, batch) == glimpse.picture).all()


class Timed(Scripted):
    """Its parts take the stated time on the engine's own clock."""

    def __init__(self, clock: list[float], head: float, step: float, tail: float) -> None:
        super().__init__([[1.0] * 50])
        self.clock, self.cost = clock, (head, step, tail)

    def begin(self, batch: NDArray[Any]) -> None:
        super().begin(batch)
        self.clock[0] += self.cost[0]

    def step(self) -> NDArray[np.float32]:
        self.clock[0] += self.cost[1]
        return super().step()

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        self.clock[0] += self.cost[2]
        return super().picture(rows, previous)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("nafnet_deploy.engines.anytime.time.perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("budget", "iterations"), [(0.031, 1), (0.051, 3), (0.059, 3), (0.061, 4)])
def test_a_budget_gets_the_most_iterations_that_fit_into_it(
    manifest: ModelManifest, clock: list[float], budget: float, iterations: int
) -> None:
    engine = AnytimeEngine(Timed(clock, 0.012, 0.010, 0.008), manifest, StopRule(40), Budget(budget))
    for _ in range(3):
        engine.announce(1)
        began = clock[0] if engine.counts else None
        run(engine, 1)
        assert engine.outcomes[0].iterations == iterations
        assert began is None or clock[0] - began <= budget


def test_tiles_share_a_budget(manifest: ModelManifest, clock: list[float]) -> None:
    engine = AnytimeEngine(Timed(clock, 0.012, 0.010, 0.008), manifest, StopRule(40), Budget(0.2501))
    run(engine, 1)  # measures
    engine.announce(4)
    began = clock[0]
    for _ in range(4):
        run(engine, 1)
    assert clock[0] - began <= 0.2501
    assert [o.iterations for o in engine.outcomes] == [4, 4, 4, 5]  # what the first ones leave, the last one uses


def test_a_budget_below_one_iteration_names_the_smallest_possible(manifest: ModelManifest, clock: list[float]) -> None:
    stepper = Timed(clock, 0.012, 0.010, 0.008)
    with pytest.raises(ConfigError, match=r"30 ms.*--budget-ms 33 or more, or --best-effort"):
        run(AnytimeEngine(stepper, manifest, StopRule(5), Budget(0.02)), 1)
    engine = AnytimeEngine(stepper, manifest, StopRule(5), Budget(0.02, best_effort=True))
    run(engine, 1)
    assert engine.outcomes[0].iterations == 1


def test_a_shape_that_comes_in_the_middle_of_a_picture_is_measured_too(
    manifest: ModelManifest, clock: list[float]
) -> None:
    engine = AnytimeEngine(Timed(clock, 0.1, 0.1, 0.1), manifest, StopRule(5), Budget(10.0))
    engine.announce(2)
    for shape in ((1, 3, 4, 8), (1, 3, 8, 4)):  # as the turned views of an ensemble
        restore_batch(engine, np.zeros(shape, np.float32))
    assert [o.iterations for o in engine.outcomes] == [5, 5]


def test_a_machine_that_turns_slow_fails_no_later_picture(manifest: ModelManifest, clock: list[float]) -> None:
    stepper = Timed(clock, 0.012, 0.010, 0.008)
    engine = AnytimeEngine(stepper, manifest, StopRule(5), Budget(0.035))
    run(engine, 1)
    stepper.cost = (0.12, 0.1, 0.08)
    for _ in range(3):
        engine.announce(1)
        run(engine, 1)
        assert engine.outcomes[0].iterations == 1


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60))
def test_a_forecast_lies_among_the_times_it_saw(times: list[float]) -> None:
    clock = Clock()
    assert not clock.knows([STEP], (1, 3, 4, 4))
    for seconds in times:
        clock.record(STEP, (1, 3, 4, 4), seconds)
    assert clock.knows([STEP], (1, 3, 4, 4))
    assert min(times[-32:]) <= clock.forecast(STEP, (1, 3, 4, 4)) <= max(times[-32:])


@given(st.integers(1, 6), st.floats(1e-6, 1), st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5))
def test_a_rule_never_goes_beyond_its_largest_number(most: int, until: float, deltas: list[float]) -> None:
    rule = StopRule(most, until)
    assert rule.done(most, np.array(deltas, np.float32)).all()


@pytest.mark.parametrize("until", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_thresholds_are_refused(until: float) -> None:
    with pytest.raises(ConfigError, match="--until-delta"):
        StopRule(3, until)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_budgets_are_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="--budget-ms"):
        Budget(seconds)


def test_engines_without_steps_and_unrolled_bundles_are_refused(tiny: Path, tiny_split: Path) -> None:
    with pytest.raises(EngineError, match=r"openvino.*does not run split bundles.*onnxruntime"):
        open_anytime("openvino", find_bundle(tiny_split), StopRule(2))
    with pytest.raises(EngineError, match=r"no step graph.*nafdeploy export CHECKPOINT --mode split"):
        open_anytime("auto", find_bundle(tiny), StopRule(2))
    with pytest.raises(ConfigError, match="Did you mean 'onnxruntime'"):
        open_anytime("onnxruntim", find_bundle(tiny_split), StopRule(2))
