"""Times engines against each other at each iteration, after checking that they give the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.report import BenchmarkReport, BenchmarkRow
from nafnet_deploy.benchmarks.statistics import frames_per_second, speed_ratio, summarize
from nafnet_deploy.benchmarks.timing import time_interleaved
from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import UsageError
from nafnet_deploy.parity.compare import EngineFactory, Progress, compare_pictures
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.tolerance import Limits, limits_for

PAUSE = 0.3
"""Seconds of rest before each turn: without it ONNX Runtime on two cores measured 10 to 20 % slower behind PyTorch
than on its own."""


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
) -> BenchmarkReport:
    """Measures one forward pass, host array to host array, of every engine at every iteration.

    Args:
        engines: label -> factory that opens the engine for n iterations; the first is the baseline that the
            others are compared with, in pictures and in speed.
        model: name of the network, for the report.
        iterations: the n to time.
        shape: input shape [B, C, H, W] (pixels).
        runs: timed rounds per iteration.
        warmup: untimed rounds before them.
        precision: arithmetic of the graphs; chooses the limits of agreement.
        threads: what the engines were told to use; recorded here, applied by their factories.
        on_progress: told (turns done, turns in all) after each.
        pause: seconds of rest before each turn (see `time_interleaved`).

    Raises:
        UsageError: nothing to time.
        ConfigError: a precision without limits.
        EngineError: an engine does not open or does not take the shape.
    """
    if not engines or not iterations or min(*iterations, 1) < 1:
        raise UsageError("there is nothing to time.", "Give at least one engine and iterations of 1 or more.")
    limits = limits_for(precision)
    environment = read_environment(threads)
    batch = natural_batch(shape, seed=0)
    count = _counter(len(iterations) * len(engines) * (runs + warmup), on_progress)
    rows: list[BenchmarkRow] = []
    for n in iterations:
        with ExitStack() as stack:
            opened = {label: stack.enter_context(factory(n)) for label, factory in engines.items()}
            rows += _time_iteration(opened, n, batch, limits, runs, warmup, count, pause)
    return BenchmarkReport(
        model=model,
        precision=precision,
        shape=shape,
        warmup=warmup,
        pause=pause,
        limits=limits,
        rows=tuple(rows),
        environment=environment,
    )


def _time_iteration(
    engines: Mapping[str, Engine],
    iteration: int,
    batch: NDArray[np.float32],
    limits: Limits,
    runs: int,
    warmup: int,
    on_turn: Callable[[], None],
    pause: float,
) -> list[BenchmarkRow]:
    pictures = {label: restore_batch(engine, batch) for label, engine in engines.items()}
    turns = {label: partial(restore_batch, engine, batch) for label, engine in engines.items()}
    measured = time_interleaved(turns, runs, warmup, on_turn, pause)
    # A clock too coarse to see a turn would divide by zero below.
    times = {label: tuple(max(ns, 1) / 1e6 for ns in values) for label, values in measured.items()}
    baseline = next(iter(engines))
    rows = []
    for label, engine in engines.items():
        # The baseline is compared with itself: a reference that is not finite agrees with nobody.
        agreement = compare_pictures(pictures[baseline], pictures[label], limits)
        comparable = label != baseline and agreement.passed
        summary = summarize(times[label])
        rows.append(
            BenchmarkRow(
                iteration=iteration,
                label=label,
                engine=engine.name,
                baseline=label == baseline,
                agreement=agreement,
                time=summary,
                fps=frames_per_second(summary.median_ms, len(batch)),
                speedup=speed_ratio(times[baseline], times[label]) if comparable else None,
                rounds_ms=times[label],
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
