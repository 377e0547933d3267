"""`nafdeploy bench`: how fast, against the PyTorch reference."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, positive, progress, say, show
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.checkpoints.store import Checkpoint
    from nafnet_deploy.engines.base import Engine
    from nafnet_deploy.manifest import Bundle
    from nafnet_deploy.parity.compare import EngineFactory

DEFAULT_ITERS = 5
"""Largest N of the table when nobody asks."""
MAX_PAUSE = 60
"""Longest rest between turns (seconds)."""


def bench(
    model: str = typer.Argument(DEFAULT_MODEL, help="Released model, checkpoint or preset (needs torch), or .onnx."),
    iters: int | None = typer.Option(None, help="Largest N; 1 to N are timed. (default: 5, or all that an .onnx has)"),
    imgsz: str = typer.Option("256", help="256 or HxW (pixels)."),
    runs: int = typer.Option(20, help="Timed rounds per N; in each round every engine takes a turn."),
    warmup: int = typer.Option(3, help="Untimed rounds before them."),
    pause: float = typer.Option(0.3, help="Seconds of rest before each turn, until the last engine's threads sleep."),
    threads: int | None = typer.Option(None, help="CPU threads of every engine. (default: one per core)"),
    engine: str = typer.Option("onnxruntime", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
    json_out: bool = typer.Option(False, "--json", help="Print the report as JSON on stdout."),
) -> None:
    """Time PyTorch eager and another engine in the same interleaved rounds, for N = 1 to --iters."""
    from nafnet_deploy.benchmarks.claimed import claimed_table
    from nafnet_deploy.benchmarks.run import run_bench
    from nafnet_deploy.engines.cut import check_iterations
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.errors import ConfigError, ParityError

    for value, option in ((iters, "--iters"), (runs, "--runs"), (threads, "--threads")):
        positive(value, option)
    if warmup < 0:
        raise ConfigError(f"--warmup {warmup} is impossible.", "Use 0 or more.")
    if not 0 <= pause <= MAX_PAUSE:
        raise ConfigError(f"--pause {pause} is impossible.", f"Use 0 to {MAX_PAUSE} seconds.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="nafdeploy-bench-")))
        bundle, checkpoint = _subject(model, iters or DEFAULT_ITERS, folder)
        largest = iters or min(DEFAULT_ITERS, bundle.manifest.iterations)
        check_iterations(bundle.manifest, largest)
        only = iterations_of(engine)
        steps = range(1, largest + 1) if only is None else (only,)
        engines: dict[str, EngineFactory] = {}
        if checkpoint is not None:
            engines["PyTorch eager"] = _pytorch(checkpoint, threads)
        label = "ONNX Runtime" if engine == "onnxruntime" else engine
        engines[label] = lambda n: open_engine(engine, bundle, n, threads, trust_engine)
        height, width = _size(imgsz, bundle.manifest.size_multiple)
        bar = stack.enter_context(progress())
        task = bar.add_task("bench", total=None)
        report = run_bench(
            engines,
            bundle.manifest.name,
            steps,
            (1, bundle.manifest.model.channels, height, width),
            runs,
            warmup,
            bundle.manifest.precision,
            threads or 0,
            lambda done, total: bar.update(task, completed=done, total=total),
            pause,
        )
    if json_out:
        print(report.to_json(), end="")
    else:
        show(report.table())
        show(claimed_table(report, json.loads(bundle.manifest.provenance.get("validation_psnr", "[]"))))
    if checkpoint is None:
        say("PyTorch was not timed: that takes a checkpoint, released model or preset, and the extra [export].")
    for n in steps:
        say(report.headline(n))
    if not report:
        raise ParityError("the engines do not give the same pictures.", "Look with: nafdeploy parity")


def _subject(model: str, iters: int, folder: Path) -> tuple[Bundle, Checkpoint | None]:
    """The graph to time and, where torch is installed, the network it came from."""
    from nafnet_deploy.errors import MissingDependency
    from nafnet_deploy.released import find_bundle, released_models

    if model.endswith(".onnx"):
        return find_bundle(model), None
    try:
        from nafnet_deploy.checkpoints.catalogue import load_model
        from nafnet_deploy.export.recipe import ExportRecipe
        from nafnet_deploy.export.run import export_bundle
    except ModuleNotFoundError as error:
        if model in released_models():
            return find_bundle(model), None
        raise MissingDependency(error.name or "torch", "export", f"to export {model}") from error
    checkpoint = load_model(model)
    iterations = iters if checkpoint.config.positions else 1
    if model in released_models() and (bundle := find_bundle(model)).manifest.iterations >= iterations:
        return bundle, checkpoint
    say(f"exporting {model} with {iterations} iterations")
    return export_bundle(checkpoint, ExportRecipe(model=model, iterations=iterations, output=str(folder))), checkpoint


def _pytorch(checkpoint: Checkpoint, threads: int | None) -> EngineFactory:
    import torch

    from nafnet_deploy.engines.torch import TorchEngine
    from nafnet_deploy.models.registry import picture

    if threads is not None:
        torch.set_num_threads(threads)
    network = checkpoint.network()

    def open_at(iterations: int) -> Engine:
        return TorchEngine(lambda x: picture(network, x, iterations), checkpoint.config.channels)

    return open_at


def _size(imgsz: str, multiple: int) -> tuple[int, int]:
    from nafnet_deploy.errors import ConfigError

    sides = [int(s) for s in imgsz.split("x") if s.isdecimal()]
    if len(sides) not in (1, 2) or len(sides) != len(imgsz.split("x")) or min(sides) < 1:
        raise ConfigError(f"--imgsz {imgsz} is not a size.", "Use 256 or HxW.")
    if any(s % multiple for s in sides):
        raise ConfigError(f"--imgsz {imgsz} does not fit: sides must be multiples of {multiple}.", "Choose others.")
    return sides[0], sides[-1]
