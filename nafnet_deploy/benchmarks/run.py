"""Times engines against each other at each iteration, after checking that they give the same pictures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.device_state import read_device
from nafnet_deploy.benchmarks.floor import Gemm, GemmRate
from nafnet_deploy.benchmarks.noise import NoiseMeter
from nafnet_deploy.benchmarks.precisions import arithmetic_of, coarsest, limits_of
from nafnet_deploy.benchmarks.report import BenchmarkReport, BenchmarkRow
from nafnet_deploy.benchmarks.scopes import FORWARD, Turn, prepare
from nafnet_deploy.benchmarks.statistics import frames_per_second, speed_ratio, summarize
from nafnet_deploy.benchmarks.timing import grid_order, time_interleaved
from nafnet_deploy.engines.base import DeviceTimes, Engine, device_times
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import EngineError, UsageError
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.compare import EngineFactory, Progress, compare_pictures
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.runtime.memory import available_memory, resident_memory

PAUSE = 0.3
"""Seconds of rest before each turn: without it ONNX Runtime on two cores measured 10 to 20 % slower behind PyTorch
than on its own."""
GEMM = ""
"""Label of the matrix product that takes its turns among the engines; no engine has it."""
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
    gemm: Gemm | None = None,
    macs: Mapping[int, float] | None = None,
) -> BenchmarkReport:
    """Measures one turn of a scope with every engine at every iteration, in the order of `timing.grid_order`.

    All engines are open at all iterations at once, so that each round can hold them all.

    Args:
        engines: label -> factory that opens the engine for n iterations; the first is the baseline that the
            others are compared with, in pictures and in speed.
        model: name of the network, for the report.
        iterations: the n to time.
        shape: input shape [B, C, H, W] (pixels).
        runs: timed rounds; in each, every engine takes a turn at every iteration.
        warmup: untimed rounds before them.
        precision: of the graphs; the limits of agreement are those of it, or of a coarser arithmetic of the pair.
        threads: what the engines were told to use; recorded here, applied by their factories.
        on_progress: told (turns done, turns in all) after each.
        pause: seconds of rest before each turn (see `time_interleaved`).
        scope: what a turn includes, see `scopes.SCOPES`.
        manifest: contract of the graph; needed for the scope `end-to-end`.
        gemm: the machine's fastest matrix product; with `macs` it takes turns like an engine and gives each engine its
            share of the floor.
        macs: n -> multiply-adds of the network for this shape; without, `gemm` is not timed.

    Raises:
        UsageError: nothing to time.
        ConfigError: a precision without limits, or a scope that does not take the shape.
        EngineError: an engine does not open or does not take the shape, or all of them do not fit into memory.
    """
    if not engines or not iterations or min(*iterations, 1) < 1:
        raise UsageError("there is nothing to time.", "Give at least one engine and iterations of 1 or more.")
    limits_of(precision)
    multiple = 1 if manifest is None else manifest.size_multiple
    given = (*shape[:2], round_up(shape[2], multiple), round_up(shape[3], multiple))  # to the engine, end to end
    batch = natural_batch(shape if scope == FORWARD else given, seed=0)
    turn_of = prepare(scope, shape, manifest)
    environment = read_environment(threads)
    labels = (*engines, GEMM) if gemm is not None and macs else tuple(engines)
    count = _counter((runs + warmup) * len(labels) * len(iterations), on_progress)
    before, meter = read_device(), NoiseMeter()
    with ExitStack() as stack:
        opened = _open(engines, iterations, turn_of, stack)
        turns: dict[tuple[int, str], Callable[[], object]] = {key: r.turn.timed for key, r in opened.items()}
        if gemm is not None and macs:
            turns |= {(n, GEMM): gemm.run for n in iterations}
        order = partial(grid_order, tuple(iterations), labels)
        taken = time_interleaved(turns, runs, warmup, count, pause, meter.read, order)
        # A clock too coarse to see a turn would divide by zero later.
        times = {key: tuple(max(ns, 1) / 1e6 for ns in turn) for key, turn in taken.items()}
        found = {
            key: _Measured(
                ready,
                times[key],
                device_times(ready.engine, {ready.engine.inputs[0].name: batch}, DEVICE_RUNS),
            )
            for key, ready in opened.items()
        }
    rate = gemm.rate({n: times[n, GEMM] for n in iterations}) if gemm is not None and macs else None
    bench = _Bench(precision, len(batch), rate, macs or {})
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
class _Ready:
    """An engine at one N, after its first turn."""

    engine: Engine
    turn: Turn
    picture: NDArray[np.float32]
    load_ms: float
    first_ms: float


def _open(
    engines: Mapping[str, EngineFactory], iterations: Sequence[int], turn_of: Callable[[Engine], Turn], stack: ExitStack
) -> dict[tuple[int, str], _Ready]:
    """Opens all engines at all iterations and lets each take its first turn.

    Raises:
        EngineError: the next iterations would not fit into memory; said before the system kills the process.
    """
    opened = {}
    for place, n in enumerate(iterations):
        resident, loaded = resident_memory(), {}
        for label, factory in engines.items():
            start = time.perf_counter_ns()
            engine = stack.enter_context(factory(n))
            loaded[label] = engine, (time.perf_counter_ns() - start) / 1e6
        for label, (engine, load_ms) in loaded.items():
            turn = turn_of(engine)
            start = time.perf_counter_ns()
            picture = turn.picture()
            opened[n, label] = _Ready(engine, turn, picture, load_ms, (time.perf_counter_ns() - start) / 1e6)
        left = len(iterations) - place - 1
        # The first growth includes the libraries, which are loaded once: it says no more than what the next one takes.
        needed = (resident_memory() - resident) * (left if place else min(left, 1))
        free = available_memory()
        if free is not None and needed > free:
            raise EngineError(
                f"{len(engines)} engines at {len(iterations)} iteration counts do not fit into memory together: about "
                f"{needed / 2**30:.1f} GiB more are needed, {free / 2**30:.1f} GiB are free.",
                "Time one N with --only, fewer with --iters, or fewer engines.",
            )
    return opened


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What one engine at one N did."""

    ready: _Ready
    times_ms: tuple[float, ...]
    device: DeviceTimes | None


@dataclasses.dataclass(frozen=True)
class _Bench:
    precision: str
    batch: int
    rate: GemmRate | None
    macs: Mapping[int, float]

    def rows(self, measured: Mapping[str, _Measured], iteration: int) -> list[BenchmarkRow]:
        baseline = next(iter(measured))
        reference = measured[baseline].ready.picture
        arithmetic = {
            label: arithmetic_of(found.ready.engine.name, self.precision) for label, found in measured.items()
        }
        macs, rate = self.macs.get(iteration), self.rate
        rows = []
        for label, found in measured.items():
            # The baseline is compared with itself: a reference that is not finite agrees with nobody.
            limits = coarsest(self.precision, arithmetic[baseline], arithmetic[label])
            agreement = compare_pictures(reference, found.ready.picture, limits_of(limits))
            comparable = label != baseline and agreement.passed
            summary = summarize(found.times_ms)
            rows.append(
                BenchmarkRow(
                    iteration=iteration,
                    label=label,
                    engine=found.ready.engine.name,
                    precision=arithmetic[label],
                    baseline=label == baseline,
                    agreement=agreement,
                    time=summary,
                    fps=frames_per_second(summary.median_ms, self.batch),
                    speedup=speed_ratio(measured[baseline].times_ms, found.times_ms) if comparable else None,
                    rounds_ms=found.times_ms,
                    load_ms=found.ready.load_ms,
                    first_ms=found.ready.first_ms,
                    build_ms=getattr(found.ready.engine, "build_ms", None),
                    device=found.device,
                    gmacs=None if macs is None else macs / 1e9,
                    floor_share=None if macs is None or rate is None else rate.share(iteration, macs, found.times_ms),
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
