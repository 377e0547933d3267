"""`nafdeploy eval`: how good the restored pictures are."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import typer

from nafnet_deploy.cli.console import positive, progress, show
from nafnet_deploy.released import DEFAULT_MODEL


def evaluate(
    model: str = typer.Argument(DEFAULT_MODEL, help="A released model or an exported .onnx file."),
    clean: Path = typer.Option(..., help="Folder of clean pictures."),
    sigma: float = typer.Option(25.0, help="Gaussian noise that is added, in steps of 255."),
    seed: int = typer.Option(0, help="Seed of the noise."),
    iters: int | None = typer.Option(None, help="Largest N; 1 to N are evaluated. [default: all of the graph]"),
    json_out: bool = typer.Option(False, "--json", help="Print the report as JSON on stdout."),
) -> None:
    """Add noise to clean pictures, restore them with 1 to N iterations, and report PSNR."""
    from nafnet_deploy.benchmarks.evaluation import evaluate as run_evaluation
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.restorer import Restorer

    bundle = find_bundle(model)
    largest = positive(iters, "--iters") or bundle.manifest.iterations
    with ExitStack() as stack:
        restorers = {
            n: Restorer(stack.enter_context(open_engine("onnxruntime", bundle, n)), bundle.manifest)
            for n in range(1, largest + 1)
        }
        bar = stack.enter_context(progress())
        task = bar.add_task("eval", total=None)
        report = run_evaluation(
            restorers,
            bundle.manifest,
            clean,
            sigma,
            seed,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json_out:
        print(report.to_json(), end="")
    else:
        show(report.table())
