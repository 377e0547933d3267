"""What every command prints with: machine output on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nafnet_deploy.errors import ConfigError

ENGINE_HELP = (
    "auto, onnxruntime, openvino, openvino-bf16, onnxruntime-cuda, onnxruntime-tensorrt, onnxruntime-nv-tensorrt-rtx, "
    "tensorrt, tensorrt-rtx, or a plan (.engine)."
)
TRUST_HELP = "Load a plan given by path without asking whose it is. It runs as code."

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table


def stderr() -> Console:
    """The console for people."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """One plain line on stderr."""
    print(line, file=sys.stderr)


def show(table: Table) -> None:
    """A table on stderr, at least 100 columns wide where the width is unknown."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)
    console.print(table)


@contextmanager
def progress(unit: str | None = None) -> Iterator[Progress]:
    """A progress bar on stderr; silent when stderr is not a terminal, gone when done.

    Args:
        unit: what is counted, e.g. `frames`, to show how many a second are done.
    """
    from rich import progress as rich
    from rich.text import Text

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} {unit}/s")

    console = stderr()
    columns = [rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()]
    columns += [*([Rate()] if unit else []), rich.TimeRemainingColumn()]
    with rich.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def positive(value: int | None, option: str) -> int | None:
    """`value` itself when it is None or 1 and more.

    Raises:
        ConfigError: it is 0 or negative.
    """
    if value is not None and value < 1:
        raise ConfigError(f"{option} {value} is impossible.", f"Use {option} 1 or more.")
    return value
