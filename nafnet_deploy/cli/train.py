"""`nafdeploy train`: recipe in, checkpoints out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say

if TYPE_CHECKING:
    from nafnet_deploy.training.callbacks import Progress


def train(
    recipe: Path = typer.Argument(..., help="A training recipe (TOML)."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder of the run. (default: runs/NAME)"),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint of the folder."),
    override: list[str] = typer.Option([], "--set", help="Change a key of the recipe: --set schedule.steps=2000"),
) -> None:
    """Train a network, every iteration supervised."""
    from nafnet_deploy.errors import MissingDependency

    try:
        from nafnet_deploy.training.recipe import read_recipe
        from nafnet_deploy.training.run import train as run_training
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", "train", "to train a network") from error

    wanted = read_recipe(recipe, override)
    folder = Path("runs") / wanted.name if out is None else out
    # Further processes run this same command; they stay silent.
    first = all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))
    with progress() as bar:
        task = bar.add_task(wanted.name, total=wanted.schedule.steps, visible=first)

        def report(now: Progress) -> None:
            bar.update(task, completed=now.step, description=f"{wanted.name} loss {now.loss:.3f}")
            if now.scores:
                line = ", ".join(f"N={n} {p:.2f} / {s:.4f}" for n, (p, s) in enumerate(now.scores, 1))
                bar.console.print(f"step {now.step}: validation PSNR (dB) / SSIM {line}")

        best = run_training(wanted, folder, resume, report, say)
    if first:
        say(f"best checkpoint: {best}")
