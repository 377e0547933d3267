"""Whether two runs of one benchmark agree within their own intervals: every ratio, and the cost of an iteration.

    python benchmarks/twice.py benchmarks/results/bench-medium-iterations.json AGAIN.json

Of two quiet runs one pair of values in twenty or so may lie further apart than that.
"""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.cli.console import say, show
from nafnet_deploy.errors import ConfigError

Pairs = list[tuple[str, str, str, bool]]


def pairs(first: BenchmarkReport, second: BenchmarkReport) -> Pairs:
    """What was measured, both values with their intervals, and whether they agree.

    Raises:
        ConfigError: reports of different networks, shapes, scopes or rows, or with nothing to compare.
    """
    kinds = [
        (r.model, r.precision, r.shape, r.scope, tuple((x.iteration, x.label) for x in r.rows)) for r in (first, second)
    ]
    if kinds[0] != kinds[1]:
        raise ConfigError("the reports are of different benchmarks.", "Run one suite twice.")
    found: Pairs = []
    for row, again in zip(first.rows, second.rows, strict=True):
        if (a := row.speedup) is not None and (b := again.speedup) is not None:
            values = (f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" for ratio in (a, b))
            found.append((f"N = {row.iteration}, {row.label}", *values, a.agrees(b)))
    costs = second.costs()
    for label, cost in first.costs().items():
        if cost.interval is not None and (other := costs[label]).interval is not None:
            shares = (f"{c.further:.1%} ({c.interval[0]:.1%}-{c.interval[1]:.1%})" for c in (cost, other) if c.interval)
            found.append((f"a further iteration, {label}", *shares, cost.agrees(other)))
    if not found:
        raise ConfigError("the reports hold nothing to compare.", "Take two engines and two rounds or more.")
    return found


def main(
    first: Path = typer.Argument(exists=True, dir_okay=False),
    second: Path = typer.Argument(exists=True, dir_okay=False),
) -> None:
    """Print both values of everything, and how many agree."""
    try:
        found = pairs(*(BenchmarkReport.from_json(p.read_text(encoding="utf-8"), p.name) for p in (first, second)))
    except ConfigError as error:
        say(str(error))
        raise typer.Exit(error.exit_code) from error
    table = Table("", "first run", "second run", "agree")
    for name, one, other, agree in found:
        table.add_row(name, one, other, "yes" if agree else "no")
    show(table)
    say(f"{sum(agree for *_, agree in found)} of {len(found)} agree within their intervals (95 %).")


if __name__ == "__main__":
    typer.run(main)
