"""`nafdeploy models`: every network that has a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from nafnet_deploy.model_list import ModelFacts


def models(json_out: bool = typer.Option(False, "--json", help="Print the list as JSON on stdout.")) -> None:
    """List every network, with its size, its task and its engines.

    Parameters, multiply-adds at 256x256, size multiple, and what each engine computes.
    """
    from nafnet_deploy.model_list import count_names, list_models, to_json

    with progress() as bar:
        task = bar.add_task("models", total=count_names())
        found = list_models(lambda name: bar.update(task, advance=1, description=name))
    if json_out:
        print(to_json(found), end="")
    else:
        show(_networks(found))
        show(_engines())
    if any(facts.parameters is None for facts in found):
        say("Parameters and multiply-adds need torch, which is not installed: pip install 'nafnet-deploy[export]'")


def _networks(models: tuple[ModelFacts, ...]) -> Table:
    from rich.table import Table

    table = Table(title="Networks", caption="GMACs: 10^9 multiply-adds at 256x256, N iterations. Size: pixels.")
    for heading in ("Name", "Task", "Parameters", "GMACs", "Size multiple", "Scale", "Views", "N", "Engines"):
        right = heading not in ("Name", "Task", "Engines")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading == "Name")
    for facts in models:
        split = any("split" in forms for forms in facts.engines.values())
        table.add_row(
            facts.name,
            ", ".join(facts.experts) or facts.task or "any",
            "?" if facts.parameters is None else f"{facts.parameters:,}",
            "?" if facts.gmacs is None else f"{facts.gmacs:,.2f}",
            str(facts.size_multiple),
            f"x{facts.scale}",
            str(facts.views),
            str(facts.iterations),
            "all, and split" if split else "all",
        )
    return table


def _engines() -> Table:
    from rich.table import Table

    from nafnet_deploy.engines.registry import ENGINES

    table = Table("Engine", "Arithmetic", "Runs split bundles", "Runs built plans", title="Engines")
    for name, entry in ENGINES.items():
        table.add_row(
            name, ", ".join(entry.arithmetic), *("yes" if able else "-" for able in (entry.steps, entry.plans))
        )
    return table
