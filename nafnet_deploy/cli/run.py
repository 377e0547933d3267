"""`nafdeploy run`: pictures in, restored pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, positive, progress, say
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.engines.base import Engine
    from nafnet_deploy.runtime.restorer import Restorer


def run(
    source: Path = typer.Argument(
        ..., metavar="IMAGE|DIR|LEFT", help="A picture, a folder of pictures, or the left view of a stereo pair."
    ),
    right: Path | None = typer.Argument(None, metavar="[RIGHT]", help="The right view, for a stereo network."),
    out: Path | None = typer.Option(None, "-o", "--out", help="File or folder of the result. (default: beside IMAGE)"),
    model: str = typer.Option(DEFAULT_MODEL, "-m", "--model", help="A released model or an exported .onnx file."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N. (default: the model's)"),
    max_iters: int | None = typer.Option(
        None, help="Split bundles: at most so many. (default: those that were proved)"
    ),
    until_delta: float | None = typer.Option(
        None, help="Split bundles: stop when an iteration changes the picture by less (root mean square; white is 1)."
    ),
    budget_ms: float | None = typer.Option(
        None, help="Split bundles: milliseconds for the network per picture; reading and writing come on top."
    ),
    best_effort: bool = typer.Option(False, "--best-effort", help="Run one iteration even if the budget is too small."),
    quality: str | None = typer.Option(None, help="Split bundles that were calibrated: fast, balanced or best."),
    progressive: bool = typer.Option(
        False,
        "--progressive",
        help="Split bundles: write the picture of every iteration, NAME_n1, NAME_n2, ...",
    ),
    tile: str = typer.Option("auto", help="auto, off, or the side of a square tile in pixels."),
    overlap: int | None = typer.Option(None, help="Pixels that tiles share. (default: the model's)"),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option("auto", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
) -> None:
    """Restore a picture, every picture of a folder, or a stereo pair."""
    from nafnet_deploy.engines.anytime import AnytimeEngine
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.engines.registry import open_anytime, open_engine
    from nafnet_deploy.engines.stopping import Budget
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.anytime import Wish, counted, rule_for, summary
    from nafnet_deploy.runtime.restorer import Restorer

    for path in (source, *((right,) if right else ())):
        if not path.exists():
            raise UsageError(f"{path} does not exist.", "Check the path.")
    if progressive and (right is not None or source.is_dir()):
        raise UsageError("--progressive takes one picture.", "Give a picture, or leave --progressive out.")
    bundle = find_bundle(model)
    manifest = bundle.manifest
    stereo = manifest.model.views == 2
    if stereo and right is None:
        raise UsageError(f"{manifest.name} restores stereo pairs.", "Give two pictures: nafdeploy run LEFT RIGHT")
    if right is not None and not stereo:
        raise UsageError(f"{manifest.name} restores single pictures, and two were given.", "Give one at a time.")
    for value, option in ((iters, "--iters"), (max_iters, "--max-iters"), (threads, "--threads")):
        positive(value, option)
    wish = Wish(iters, max_iters, until_delta, budget_ms, best_effort, quality)
    side = int(tile) if tile.isdecimal() else tile
    opened: Engine
    if manifest.parts or wish.adaptive or best_effort or progressive:
        if trust_engine:
            raise UsageError("what runs in steps is always checked.", "Leave --trust-engine out.")
        rule = rule_for(wish, manifest)
        budget = None if budget_ms is None else Budget(budget_ms / 1e3, best_effort)
        opened = open_anytime(engine, bundle, rule, budget, threads)
    else:
        n = iters or iterations_of(engine) or manifest.default_iterations
        opened = open_engine(engine, bundle, n, threads, trust_engine, say)
    with opened:
        restorer = Restorer(opened, manifest, side, overlap)
        if progressive:
            _stages(restorer, source, out)
        elif right is not None:
            _pair(restorer, source, right, out)
        elif source.is_dir():
            _folder(restorer, source, out)
        else:
            _file(restorer, source, out)
        if not isinstance(opened, AnytimeEngine):
            say(f"engine: {opened.name}, N = {n}")
        elif source.is_dir():
            say(f"engine: {opened.name}, {counted(opened.counts)}")
        elif not progressive:
            say(f"engine: {opened.name}, {summary(opened.outcomes, opened.rule.max_iterations, until_delta)}")


def _file(restorer: Restorer, source: Path, out: Path | None) -> None:
    from nafnet_deploy.runtime.folder import default_target, restore_file

    target = default_target(source) if out is None else out
    if target.is_dir():
        target = target / default_target(source).name
    with progress() as bar:
        task = bar.add_task(source.name, total=None)
        restore_file(restorer, source, target, lambda done, total: bar.update(task, completed=done, total=total))
    say(f"{source} -> {target}")


def _stages(restorer: Restorer, source: Path, out: Path | None) -> None:
    from nafnet_deploy.runtime.folder import default_target, restore_stages

    target = default_target(source) if out is None else out
    if target.is_dir():
        target = target / default_target(source).name
    for stage, written in restore_stages(restorer, source, target):
        say(f"N = {stage.iteration}: {written}, changed the picture by {stage.change:.1e}")


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
