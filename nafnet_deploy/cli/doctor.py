"""`nafdeploy doctor`: what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from nafnet_deploy.doctor import Diagnosis


def doctor(json_out: bool = typer.Option(False, "--json", help="Print the diagnosis as JSON on stdout.")) -> None:
    """Say what this machine can do, and how to get what is missing. Exit code 3 when something is broken."""
    from nafnet_deploy.doctor import diagnose
    from nafnet_deploy.errors import MachineError

    with progress() as bar:
        task = bar.add_task("doctor", total=None)
        diagnosis = diagnose(lambda name: bar.update(task, description=name))
    if json_out:
        print(diagnosis.to_json(), end="")
    else:
        show(_table(diagnosis))
        for finding in diagnosis.findings:
            if finding.mend:
                say(f"{finding.name}: {finding.mend}")
    if not diagnosis:
        broken = diagnosis.broken
        raise MachineError(f"{len(broken)} broken: {', '.join(f.name for f in broken)}.", f"{broken[0].mend}")


def _table(diagnosis: Diagnosis) -> Table:
    from rich.markup import escape
    from rich.table import Table

    machine = diagnosis.environment
    caption = f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, Python {machine.python}"
    table = Table("What", "Name", "State", "Detail", title="This machine", caption=caption)
    colours = {"ok": "green", "missing": "yellow", "broken": "bold red"}
    for finding in diagnosis.findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(finding.area, escape(finding.name), state, escape(finding.detail))
    return table
