"""What the commands that go through a folder of pictures show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say

if TYPE_CHECKING:
    from nafnet_deploy.data.outputs import Failure, OnFile


@contextmanager
def picture_progress(folder: Path) -> Iterator[OnFile]:
    """A progress bar over pictures, and the function that moves it."""
    with progress() as bar:
        task = bar.add_task(folder.name, total=None)
        yield lambda path, number, total: bar.update(task, description=path.name, completed=number - 1, total=total)


def report_failures(failed: Sequence[Failure]) -> None:
    """Names every picture that was left out, and ends with code 2 when there is one."""
    for failure in failed:
        say(f"  {failure.source.name}: {failure.error}")
    if failed:
        raise typer.Exit(2)
