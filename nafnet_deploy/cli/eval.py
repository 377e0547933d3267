"""`nafdeploy eval`: how good the restored pictures are."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, positive, progress, say, show
from nafnet_deploy.released import DEFAULT_MODEL

DEFAULT_SIGMA = 25.0
"""Noise that is added when nobody names a level or gives degraded pictures (steps of 255)."""


def evaluate(
    model: str = typer.Argument(DEFAULT_MODEL, help="A released model or an exported .onnx file."),
    clean: Path = typer.Option(..., help="Folder of clean pictures."),
    degraded: Path | None = typer.Option(
        None, help="Folder of degraded (or small) pictures with the stems of the clean ones."
    ),
    sigma: float | None = typer.Option(
        None,
        help="Without --degraded: Gaussian noise that is added, in steps of 255; for a network that enlarges, pictures "
        "are shrunk instead. (default: 25)",
    ),
    seed: int | None = typer.Option(None, help="Seed of that noise. (default: 0)"),
    iters: int | None = typer.Option(None, help="Largest N; 1 to N are evaluated. (default: all of the graph)"),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option("onnxruntime", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
    pictures: bool = typer.Option(False, "--pictures", help="Print a table of every picture as well."),
    json_out: bool = typer.Option(False, "--json", help="Print the report, every picture in it, as JSON on stdout."),
) -> None:
    """Measure PSNR and SSIM of restored pictures. They are compared with clean ones, after 1 to N iterations."""
    from nafnet_deploy.benchmarks.evaluation import evaluate as run_evaluation
    from nafnet_deploy.engines.cut import check_iterations
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.errors import ConfigError
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.restorer import Restorer

    positive(threads, "--threads")
    if seed is not None and seed < 0:
        raise ConfigError(f"--seed {seed} is impossible.", "Use 0 or more.")
    bundle = find_bundle(model)
    if degraded is None and sigma is None and bundle.manifest.scale == 1:
        sigma = DEFAULT_SIGMA
    if sigma is None and seed is not None:
        raise ConfigError(f"--seed {seed} is that of noise, and none is added.", "Leave --seed out.")
    largest = positive(iters, "--iters") or bundle.manifest.iterations
    check_iterations(bundle.manifest, largest)
    only = iterations_of(engine)
    steps = range(1, largest + 1) if only is None else (only,)
    with ExitStack() as stack:
        engines = {n: stack.enter_context(open_engine(engine, bundle, n, threads, trust_engine)) for n in steps}
        bar = stack.enter_context(progress())
        task = bar.add_task("eval", total=None)
        report = run_evaluation(
            {n: Restorer(opened, bundle.manifest) for n, opened in engines.items()},
            bundle.manifest,
            clean,
            degraded,
            sigma,
            seed or 0,
            ", ".join(dict.fromkeys(opened.name for opened in engines.values())),
            lambda done, total: bar.update(task, completed=done, total=total),
            threads or 0,
        )
    if json_out:
        print(report.to_json(), end="")
    else:
        if pictures:
            show(report.picture_table())
        show(report.table())
    if report.skipped:
        say(f"{len(report.pictures)} evaluated, {len(report.skipped)} skipped")
        for picture in report.skipped:
            say(f"  {picture.name}: {picture.reason}")
        raise typer.Exit(2)
