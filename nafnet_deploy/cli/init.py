"""`nafdeploy init`: a folder to train in."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import say


def init(project: Path = typer.Argument(..., metavar="PROJECT", help="A new or empty folder.")) -> None:
    """Lay out folders and a commented recipe to train with. Prints the next three commands."""
    from nafnet_deploy.data.project import create_project

    readme = create_project(project)
    say(f"{project} is ready. The next commands, from inside it, are in {readme}:")
    say(readme.read_text(encoding="utf-8").rstrip())
