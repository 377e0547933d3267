"""`nafdeploy run`: pictures in, restored pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, positive, progress, say
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.runtime.restorer import Restorer


def run(
    source: Path = typer.Argument(
        ..., metavar="IMAGE|DIR|LEFT", help="A picture, a folder of pictures, or the left view of a stereo pair."
    ),
    right: Path | None = typer.Argument(None, metavar="[RIGHT]", help="The right view, for a stereo network."),
    out: Path | None = typer.Option(None, "-o", "--out", help="File or folder of the result. (default: beside IMAGE)"),
    model: str = typer.Option(DEFAULT_MODEL, "-m", "--model", help="A released model or an exported .onnx file."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N. (default: the model's)"),
    tile: str = typer.Option("auto", help="auto, off, or the side of a square tile in pixels."),
    overlap: int | None = typer.Option(None, help="Pixels that tiles share. (default: the model's)"),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option("auto", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
) -> None:
    """Restore a picture, every picture of a folder, or a stereo pair."""
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.restorer import Restorer

    for path in (source, *((right,) if right else ())):
        if not path.exists():
            raise UsageError(f"{path} does not exist.", "Check the path.")
    bundle = find_bundle(model)
    stereo = bundle.manifest.model.views == 2
    if stereo and right is None:
        raise UsageError(
            f"{bundle.manifest.name} restores stereo pairs.", "Give two pictures: nafdeploy run LEFT RIGHT"
        )
    if right is not None and not stereo:
        raise UsageError(f"{bundle.manifest.name} restores single pictures, and two were given.", "Give one at a time.")
    iterations = positive(iters, "--iters") or iterations_of(engine) or bundle.manifest.default_iterations
    side = int(tile) if tile.isdecimal() else tile
    with open_engine(engine, bundle, iterations, positive(threads, "--threads"), trust_engine, say) as opened:
        restorer = Restorer(opened, bundle.manifest, side, overlap)
        if right is not None:
            _pair(restorer, source, right, out)
        elif source.is_dir():
            _folder(restorer, source, out)
        else:
            _file(restorer, source, out)
        say(f"engine: {opened.name}, N = {iterations}")


def _file(restorer: Restorer, source: Path, out: Path | None) -> None:
    from nafnet_deploy.runtime.folder import default_target, restore_file

    target = default_target(source) if out is None else out
    if target.is_dir():
        target = target / default_target(source).name
    with progress() as bar:
        task = bar.add_task(source.name, total=None)
        restore_file(restorer, source, target, lambda done, total: bar.update(task, completed=done, total=total))
    say(f"{source} -> {target}")


def _pair(restorer: Restorer, left: Path, right: Path, out: Path | None) -> None:
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.runtime.folder import default_target, restore_pair

    if out is not None and not out.is_dir():
        raise UsageError(f"{out} is not a folder, and a pair gives two pictures.", "Give an existing folder with -o.")
    first, second = ((out or view.parent) / default_target(view).name for view in (left, right))
    with progress() as bar:
        task = bar.add_task(left.name, total=None)
        restore_pair(
            restorer,
            (left, right),
            (first, second),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    say(f"{left}, {right} -> {first}, {second}")


def _folder(restorer: Restorer, source: Path, out: Path | None) -> None:
    from nafnet_deploy.runtime.folder import default_target, restore_folder

    target = default_target(source) if out is None else out
    with progress() as bar:
        task = bar.add_task(source.name, total=None)
        result = restore_folder(
            restorer,
            source,
            target,
            lambda path, number, total: bar.update(task, description=path.name, completed=number - 1, total=total),
        )
    say(f"{source} -> {target}: {len(result.restored)} restored, {len(result.failed)} failed")
    for failure in result.failed:
        say(f"  {failure.source.name}: {failure.error}")
    if result.failed:
        raise typer.Exit(2)
