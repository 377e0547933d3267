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
from nafnet_deploy.benchmarks.timing import time_interleaved
from nafnet_deploy.engines.base import Engine, device_times
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
    """Measures one turn of a scope with every engine at every iteration.

    Args:
        engines: label -> factory that opens the engine for n iterations; the first is the baseline that the
            others are compared with, in pictures and in speed.
        model: name of the network, for the report.
        iterations: the n to time.
        shape: input shape [B, C, H, W] (pixels).
        runs: timed rounds per iteration.
        warmup: untimed rounds before them.
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
    bench = _Bench(precision, prepare(scope, shape, manifest), batch, runs, warmup, pause, rate, macs or {})
    environment = read_environment(threads)
    count = _counter(len(iterations) * len(engines) * (runs + warmup), on_progress)
    before, meter = read_device(), NoiseMeter()
    rows: list[BenchmarkRow] = []
    for n in iterations:
        with ExitStack() as stack:
            opened, load_ms = {}, {}
            for label, factory in engines.items():
                start = time.perf_counter_ns()
                opened[label] = stack.enter_context(factory(n))
                load_ms[label] = (time.perf_counter_ns() - start) / 1e6
            rows += bench.rows(opened, load_ms, n, count, meter)
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
class _Bench:
    precision: str
    turn_of: Callable[[Engine], Turn]
    batch: NDArray[np.float32]
    runs: int
    warmup: int
    pause: float
    rate: GemmRate | None
    macs: Mapping[int, float]

    def rows(
        self,
        engines: Mapping[str, Engine],
        load_ms: Mapping[str, float],
        iteration: int,
        on_turn: Callable[[], None],
        meter: NoiseMeter,
    ) -> list[BenchmarkRow]:
        turns = {label: self.turn_of(engine) for label, engine in engines.items()}
        pictures, first_ms = {}, {}
        for label, turn in turns.items():
            start = time.perf_counter_ns()
            pictures[label] = turn.picture()
            first_ms[label] = (time.perf_counter_ns() - start) / 1e6
        measured = time_interleaved(
            {label: turn.timed for label, turn in turns.items()},
            self.runs,
            self.warmup,
            on_turn,
            self.pause,
            meter.read,
        )
        # A clock too coarse to see a turn would divide by zero below.
        times = {label: tuple(max(ns, 1) / 1e6 for ns in values) for label, values in measured.items()}
        baseline = next(iter(engines))
        arithmetic = {label: arithmetic_of(engine.name, self.precision) for label, engine in engines.items()}
        macs = self.macs.get(iteration)
        rows = []
        for label, engine in engines.items():
            # The baseline is compared with itself: a reference that is not finite agrees with nobody.
            limits = coarsest(self.precision, arithmetic[baseline], arithmetic[label])
            agreement = compare_pictures(pictures[baseline], pictures[label], limits_of(limits))
            comparable = label != baseline and agreement.passed
            summary = summarize(times[label])
            floor_ms = None if macs is None or self.rate is None else self.rate.floor_ms(macs)
            rows.append(
                BenchmarkRow(
                    iteration=iteration,
                    label=label,
                    engine=engine.name,
                    precision=arithmetic[label],
                    baseline=label == baseline,
                    agreement=agreement,
                    time=summary,
                    fps=frames_per_second(summary.median_ms, len(self.batch)),
                    speedup=speed_ratio(times[baseline], times[label]) if comparable else None,
                    rounds_ms=times[label],
                    load_ms=load_ms[label],
                    first_ms=first_ms[label],
                    build_ms=getattr(engine, "build_ms", None),
                    device=device_times(engine, {engine.inputs[0].name: self.batch}, DEVICE_RUNS),
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
