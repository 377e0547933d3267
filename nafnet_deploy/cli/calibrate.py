"""`nafdeploy calibrate`: how long a split bundle should think."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

from nafnet_deploy.cli.console import positive, progress, say, show

QUALITY_WORDS = "--quality fast|balanced|best"


def calibrate(
    folder: Path = typer.Argument(..., metavar="DIR", help="Folder of degraded pictures; with --sigma, clean ones."),
    model: Path = typer.Option(..., "-m", "--model", help="A split bundle: its .json or one of its graphs."),
    clean: Path | None = typer.Option(
        None,
        help="Folder of clean pictures with the same stems. Without it and --sigma, quality is agreement with "
        "the picture of all iterations.",
    ),
    sigma: tuple[float, float] | None = typer.Option(
        None, metavar="LOW HIGH", help="Gaussian noise that is added, its level drawn between these (steps of 255)."
    ),
    imgsz: int = typer.Option(256, help="The middle of each picture is used, at most so many pixels high and wide."),
    max_iters: int | None = typer.Option(None, help="Most iterations. (default: as many as were proved)"),
    seed: int = typer.Option(0, help="Seed of the noise."),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option(
        "auto",
        help="auto, onnxruntime, onnxruntime-cuda, tensorrt-rtx, tensorrt, or the path of a plan.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Measure and print; change no manifest."),
    json_out: bool = typer.Option(False, "--json", help="Print the calibration as JSON on stdout."),
) -> None:
    """Find the thresholds of --quality for a split bundle. Quality and time are measured over pictures."""
    from nafnet_deploy.benchmarks.calibration import calibrate as measure
    from nafnet_deploy.benchmarks.calibration_store import store
    from nafnet_deploy.engines.registry import open_anytime
    from nafnet_deploy.engines.stopping import StopRule
    from nafnet_deploy.errors import ConfigError, MissingDependency, NafdeployError
    from nafnet_deploy.manifest import open_bundle

    positive(threads, "--threads")
    if seed < 0:
        raise ConfigError(f"--seed {seed} is impossible.", "Use 0 or more.")
    if not dry_run and find_spec("matplotlib") is None:
        raise MissingDependency("matplotlib", "plots", "to draw the curve")
    bundle = open_bundle(model)
    rule = StopRule(positive(max_iters, "--max-iters") or bundle.manifest.iterations)
    bad: list[NafdeployError] = []
    with open_anytime(engine, bundle, rule, threads=threads) as opened, progress() as bar:
        task = bar.add_task("calibrate", total=None)
        found = measure(
            opened,
            bundle.manifest,
            folder,
            clean,
            sigma,
            imgsz,
            seed,
            lambda done, total: bar.update(task, completed=done, total=total),
            bad.append,
            threads or 0,
        )
    if json_out:
        print(found.to_json(), end="")
    else:
        show(found.table())
    if not dry_run:
        manifest, picture = store(found, bundle)
        say(f"{manifest} now serves {QUALITY_WORDS}; the curve is in {picture}")
    for error in bad:
        say(f"left out: {error}")
    if bad:
        raise typer.Exit(2)
