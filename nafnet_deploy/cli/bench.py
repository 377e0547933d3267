"""`nafdeploy bench`: how fast, against PyTorch and every other engine, in the same rounds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.bench_engines import SPLIT, Subject, check_names, choose, label_of, subject_of
from nafnet_deploy.cli.bench_extras import (
    fastest_gemm,
    measure_processes,
    measure_profiles,
    measure_scale,
    network_macs,
)
from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, progress, say, show

if TYPE_CHECKING:
    from nafnet_deploy.benchmarks.recipe import BenchRecipe
    from nafnet_deploy.benchmarks.report import BenchmarkReport
    from nafnet_deploy.parity.compare import Progress

PEERS_HELP = (
    "Add PyTorch channels-last and compiled, the naive export on ONNX Runtime and OpenVINO, where they are installed."
)
ENGINES_HELP = (
    f"May be given more than once. {ENGINE_HELP} For comparison also: pytorch, pytorch-channels-last, pytorch-compile, "
    "onnxruntime-naive, onnxruntime-split. (default: onnxruntime)"
)


def bench(
    model: str | None = typer.Argument(
        None, help="Released model, checkpoint or preset (needs torch), or .onnx. (default: denoise-light)"
    ),
    iters: int | None = typer.Option(None, help="Largest N; 1 to N are timed. (default: 5, or all that an .onnx has)"),
    only: int | None = typer.Option(None, help="Time this N alone."),
    imgsz: str | None = typer.Option(None, help="256 or HxW (pixels). (default: 256)"),
    batch: int | None = typer.Option(None, help="Pictures per run; end to end takes one. (default: 1)"),
    scope: str | None = typer.Option(
        None,
        help="forward: the network alone. end-to-end: decoded picture to restored picture, files left out. "
        "(default: forward)",
    ),
    runs: int | None = typer.Option(
        None, help="Timed rounds; in each, every engine takes a turn at every N. (default: 20)"
    ),
    warmup: int | None = typer.Option(None, help="Untimed rounds before them. (default: 3)"),
    pause: float | None = typer.Option(
        None, help="Seconds of rest before each turn, until the last engine's threads sleep. (default: 0.3)"
    ),
    threads: int | None = typer.Option(None, help="CPU threads of every engine. (default: one per core)"),
    engine: list[str] | None = typer.Option(None, help=ENGINES_HELP),
    peers: bool | None = typer.Option(None, "--peers", help=PEERS_HELP),
    baseline: str | None = typer.Option(
        None, help="The engine that the others are compared with. (default: pytorch, else the first)"
    ),
    memory: bool | None = typer.Option(
        None, "--memory/--no-memory", help="Start-up time and peak memory, in a process per engine. (default: yes)"
    ),
    profile: bool | None = typer.Option(
        None, "--profile", help="Where the time goes, per kind of operator (ONNX Runtime, plans)."
    ),
    scale: bool | None = typer.Option(
        None, "--scale", help="In place of the table over N: time and memory against megapixels, batch and threads."
    ),
    recipe: Path | None = typer.Option(None, help="TOML recipe; the options above win over it."),
    strict: bool = typer.Option(
        False, "--strict", help="End with code 7 unless the machine was clean and the outputs agree."
    ),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
    json_out: bool = typer.Option(False, "--json", help="Print the report as JSON on stdout."),
) -> None:
    """Time engines against PyTorch eager, in interleaved rounds. For N = 1 to --iters."""
    from nafnet_deploy.benchmarks.recipe import read_bench_recipe
    from nafnet_deploy.errors import EngineError

    wanted = read_bench_recipe(
        recipe,
        {
            "model": model, "iterations": iters, "only": only, "imgsz": imgsz, "batch": batch, "scope": scope,
            "runs": runs, "warmup": warmup, "pause": pause, "threads": threads, "engines": engine or None,
            "peers": peers, "baseline": baseline, "memory": memory, "profile": profile, "scale": scale,
        },
    )  # fmt: skip
    check_names(wanted)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="nafdeploy-bench-")))
        subject, steps = subject_of(wanted, folder, trust_engine)
        names = choose(list(wanted.engines), wanted.peers, subject, wanted.baseline)
        bar = stack.enter_context(progress())
        task = bar.add_task("bench", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if wanted.scale:
            found = measure_scale(subject, names, steps[-1], wanted, tell)
        else:
            report = _measure(subject, names, steps, wanted, tell)
    if wanted.scale:
        if json_out:
            print(found.to_json(), end="")
        else:
            show(found.table())
        if found.missing:  # what was finished is shown; the code still says that it is not all
            say(f"{found.missing} of {found.missing + len(found.points)} points were not reached.")
            raise KeyboardInterrupt
        if not found:
            raise EngineError(f"nothing ran: {found.points[0].why_not}", "See what runs here with: nafdeploy doctor")
        for label in found.labels:
            say(found.words(label))
        say(found.noise.words() if found.noise else "")
        _judge(strict, found.noise.verdict if found.noise else "unknown")
        return
    _tell(report, json_out, subject.bundle.manifest.provenance.get("validation_psnr", "[]"), steps)
    if subject.checkpoint is None:
        say("PyTorch was not timed: that takes a checkpoint, released model or preset, and the extra [export].")
    for n in steps:
        say(report.headline(n))
    _judge(strict, report.verdict, bool(report))


def _measure(
    subject: Subject, names: Sequence[str], steps: Sequence[int], wanted: BenchRecipe, tell: Progress
) -> BenchmarkReport:
    from nafnet_deploy.benchmarks.run import run_bench

    manifest = subject.bundle.manifest
    subject.prepare(names, steps)
    report = run_bench(
        {label_of(name): partial(subject.open, name) for name in names},
        manifest.name,
        steps,
        (*subject.shape[:2], *wanted.size(1)),
        wanted.runs,
        wanted.warmup,
        manifest.precision,
        wanted.threads or 0,
        tell,
        wanted.pause,
        wanted.scope,
        manifest,
        fastest_gemm(wanted.threads),
        {n: macs for n in steps if (macs := network_macs(subject, n)) is not None},
    )
    if wanted.memory:
        costs = measure_processes(subject, names, steps[-1])
        rows = tuple(
            dataclasses.replace(row, process=costs.get(row.label)) if row.iteration == steps[-1] else row
            for row in report.rows
        )
        report = dataclasses.replace(report, rows=rows)
    if wanted.profile:
        report = dataclasses.replace(report, profiles=measure_profiles(subject, names, steps[-1]))
    return report


def _judge(strict: bool, verdict: str, agree: bool = True) -> None:
    from nafnet_deploy.errors import BenchmarkError, ParityError

    if not agree:
        raise ParityError("the engines do not give the same pictures.", "Look with: nafdeploy parity")
    if strict and verdict != "clean":
        raise BenchmarkError(
            "the benchmark cannot be trusted: "
            + (f"the machine was {verdict}." if verdict == "noisy" else "how quiet the machine was is unknown."),
            "Stop other programs and take more --runs.",
        )


def _tell(report: BenchmarkReport, json_out: bool, validation: str, steps: Sequence[int]) -> None:
    from nafnet_deploy.benchmarks.claimed import claimed_table
    from nafnet_deploy.benchmarks.tables import advice, against, cost_table

    if json_out:
        print(report.to_json(), end="")
    else:
        show(report.table())
        show(cost_table(report))
        if len(steps) > 1:
            show(claimed_table(report, json.loads(validation)))
            for label, cost in report.costs().items():
                say(f"{label}: {cost.words()}.")
        for found in report.profiles:
            show(found.table())
    if words := advice(report, label_of("onnxruntime"), label_of(SPLIT)):
        say(words)
    if words := against(report, label_of("onnxruntime-naive"), [label_of("onnxruntime"), label_of("openvino")]):
        say(words)
    if report.rate is not None:
        say(
            f"Floor: {report.rate.gflops:.0f} GFLOP/s, the {report.rate.side}x{report.rate.side} float32 product of "
            f"{report.rate.backend} on {report.rate.cores:.1f} cores, in turn with the engines."
        )
    if report.noise is not None:
        say(report.noise.words())
    say(f"GPU: {report.gpu_after.words() if report.gpu_after else 'none, or its state is unknown'}.")
