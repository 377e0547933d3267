"""Times engines against each other at each iteration, after checking that they give the same pictures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.device_state import read_device
from nafnet_deploy.benchmarks.floor import GemmRate
from nafnet_deploy.benchmarks.noise import NoiseMeter
from nafnet_deploy.benchmarks.precisions import arithmetic_of, coarsest, limits_of
from nafnet_deploy.benchmarks.report import BenchmarkReport, BenchmarkRow
from nafnet_deploy.benchmarks.scopes import FORWARD, Turn, prepare
from nafnet_deploy.benchmarks.statistics import frames_per_second, speed_ratio, summarize
from nafnet_deploy.benchmarks.timing import time_interleaved, visits
from nafnet_deploy.engines.base import DeviceTimes, Engine, device_times
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import UsageError
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.compare import EngineFactory, Progress, compare_pictures
from nafnet_deploy.parity.inputs import natural_batch

PAUSE = 0.3
"""Seconds of rest before each turn: without it ONNX Runtime on two cores measured 10 to 20 % slower behind PyTorch
than on its own."""
DEVICE_RUNS = 10
"""Runs behind each figure of the device's clock."""


def run_bench(
    engines: Mapping[str, EngineFactory],
    model: str,
    iterations: Sequence[int] = (1, 2, 3, 4, 5),
    shape: tuple[int, int, int, int] = (1, 3, 256, 256),
    runs: int = 20,
    warmup: int = 3,
    precision: str = "fp32",
    threads: int = 0,
    on_progress: Progress | None = None,
    pause: float = PAUSE,
    scope: str = FORWARD,
    manifest: ModelManifest | None = None,
    rate: GemmRate | None = None,
    macs: Mapping[int, float] | None = None,
) -> BenchmarkReport:
    """Measures one turn of a scope with every engine at every iteration, in the order of `timing.visits`.

    Args:
        engines: label -> factory that opens the engine for n iterations; the first is the baseline that the
            others are compared with, in pictures and in speed.
        model: name of the network, for the report.
        iterations: the n to time.
        shape: input shape [B, C, H, W] (pixels).
        runs: timed rounds per iteration.
        warmup: untimed rounds before them, at each visit of an iteration.
        precision: of the graphs; the limits of agreement are those of it, or of a coarser arithmetic of the pair.
        threads: what the engines were told to use; recorded here, applied by their factories.
        on_progress: told (turns done, turns in all) after each.
        pause: seconds of rest before each turn (see `time_interleaved`).
        scope: what a turn includes, see `scopes.SCOPES`.
        manifest: contract of the graph; needed for the scope `end-to-end`.
        rate: the machine's matrix-product rate; with `macs` it gives each engine's share of the floor.
        macs: n -> multiply-adds of the network for this shape.

    Raises:
        UsageError: nothing to time.
        ConfigError: a precision without limits, or a scope that does not take the shape.
        EngineError: an engine does not open or does not take the shape.
    """
    if not engines or not iterations or min(*iterations, 1) < 1:
        raise UsageError("there is nothing to time.", "Give at least one engine and iterations of 1 or more.")
    limits_of(precision)
    multiple = 1 if manifest is None else manifest.size_multiple
    given = (*shape[:2], round_up(shape[2], multiple), round_up(shape[3], multiple))  # to the engine, end to end
    batch = natural_batch(shape if scope == FORWARD else given, seed=0)
    bench = _Bench(precision, prepare(scope, shape, manifest), batch, warmup, pause, rate, macs or {})
    environment = read_environment(threads)
    route = visits(iterations, runs)
    count = _counter(sum(rounds + warmup for _, rounds in route) * len(engines), on_progress)
    before, meter = read_device(), NoiseMeter()
    found: dict[tuple[int, str], _Measured] = {}
    for n, rounds in route:
        with ExitStack() as stack:
            opened, load_ms = {}, {}
            for label, factory in engines.items():
                start = time.perf_counter_ns()
                opened[label] = stack.enter_context(factory(n))
                load_ms[label] = (time.perf_counter_ns() - start) / 1e6
            for label, measured in bench.measure(opened, load_ms, rounds, count, meter).items():
                earlier = found.get((n, label))
                found[n, label] = measured if earlier is None else earlier.then(measured)
    rows = [row for n in iterations for row in bench.rows({label: found[n, label] for label in engines}, n)]
    return BenchmarkReport(
        model=model,
        precision=precision,
        shape=shape,
        warmup=warmup,
        pause=pause,
        limits={name: limits_of(name) for name in dict.fromkeys(row.limits for row in rows)},
        rows=tuple(rows),
        environment=environment,
        scope=scope,
        noise=meter.result(),
        rate=rate,
        gpu_before=before,
        gpu_after=read_device(),
    )


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What one engine at one N did; how it was loaded and its picture are those of the first visit."""

    engine: str
    picture: NDArray[np.float32]
    times_ms: tuple[float, ...]
    load_ms: float
    first_ms: float
    build_ms: float | None
    device: DeviceTimes | None

    def then(self, later: _Measured) -> _Measured:
        """With the rounds of a later visit behind its own."""
        return dataclasses.replace(self, times_ms=self.times_ms + later.times_ms)


@dataclasses.dataclass(frozen=True)
class _Bench:
    precision: str
    turn_of: Callable[[Engine], Turn]
    batch: NDArray[np.float32]
    warmup: int
    pause: float
    rate: GemmRate | None
    macs: Mapping[int, float]

    def measure(
        self,
        engines: Mapping[str, Engine],
        load_ms: Mapping[str, float],
        rounds: int,
        on_turn: Callable[[], None],
        meter: NoiseMeter,
    ) -> dict[str, _Measured]:
        turns = {label: self.turn_of(engine) for label, engine in engines.items()}
        pictures, first_ms = {}, {}
        for label, turn in turns.items():
            start = time.perf_counter_ns()
            pictures[label] = turn.picture()
            first_ms[label] = (time.perf_counter_ns() - start) / 1e6
        timed = {label: turn.timed for label, turn in turns.items()}
        times = time_interleaved(timed, rounds, self.warmup, on_turn, self.pause, meter.read)
        return {
            label: _Measured(
                engine=engine.name,
                picture=pictures[label],
                # A clock too coarse to see a turn would divide by zero later.
                times_ms=tuple(max(ns, 1) / 1e6 for ns in times[label]),
                load_ms=load_ms[label],
                first_ms=first_ms[label],
                build_ms=getattr(engine, "build_ms", None),
                device=device_times(engine, {engine.inputs[0].name: self.batch}, DEVICE_RUNS),
            )
            for label, engine in engines.items()
        }

    def rows(self, measured: Mapping[str, _Measured], iteration: int) -> list[BenchmarkRow]:
        baseline = next(iter(measured))
        arithmetic = {label: arithmetic_of(found.engine, self.precision) for label, found in measured.items()}
        macs = self.macs.get(iteration)
        floor_ms = None if macs is None or self.rate is None else self.rate.floor_ms(macs)
        rows = []
        for label, found in measured.items():
            # The baseline is compared with itself: a reference that is not finite agrees with nobody.
            limits = coarsest(self.precision, arithmetic[baseline], arithmetic[label])
            agreement = compare_pictures(measured[baseline].picture, found.picture, limits_of(limits))
            comparable = label != baseline and agreement.passed
            summary = summarize(found.times_ms)
            rows.append(
                BenchmarkRow(
                    iteration=iteration,
                    label=label,
                    engine=found.engine,
                    precision=arithmetic[label],
                    baseline=label == baseline,
                    agreement=agreement,
                    time=summary,
                    fps=frames_per_second(summary.median_ms, len(self.batch)),
                    speedup=speed_ratio(measured[baseline].times_ms, found.times_ms) if comparable else None,
                    rounds_ms=found.times_ms,
                    load_ms=found.load_ms,
                    first_ms=found.first_ms,
                    build_ms=found.build_ms,
                    device=found.device,
                    gmacs=None if macs is None else macs / 1e9,
                    floor_share=None if floor_ms is None else floor_ms / summary.median_ms,
                    limits=limits,
                )
            )
        return rows


def _counter(total: int, on_progress: Progress | None) -> Callable[[], None]:
    done = 0

    def turn() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    return turn
