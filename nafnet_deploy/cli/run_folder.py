"""`nafdeploy run DIR`: progress, summary and failures of a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say

if TYPE_CHECKING:
    from nafnet_deploy.runtime.batch.run import FolderResult
    from nafnet_deploy.runtime.batch.storage import FolderPlan
    from nafnet_deploy.runtime.cluster.run import ClusterPlan
    from nafnet_deploy.runtime.opening import Opening


def run_folder(plan: FolderPlan | ClusterPlan, opening: Opening, as_json: bool) -> None:
    """Restores a folder and says what became of it; ends with code 2 when a picture failed."""
    from nafnet_deploy.runtime.batch.run import restore_folder
    from nafnet_deploy.runtime.cluster.run import ClusterPlan, restore_on_cluster

    with progress("pictures") as bar:
        task = bar.add_task(str(plan.folder), total=None)

        def moved(path: Path, done: int, total: int) -> None:
            bar.update(task, description=path.name, completed=done, total=total)

        if isinstance(plan, ClusterPlan):
            result = restore_on_cluster(plan, opening, moved, say)
        else:
            result = restore_folder(plan, opening, moved, note=say)
    report(plan, opening, result)
    if as_json:
        json.dump({"folder": str(plan.folder), "out": str(plan.out), **result.to_json()}, sys.stdout, indent=2)
        print()
    if result.failed:
        raise typer.Exit(2)


def report(plan: FolderPlan | ClusterPlan, opening: Opening, result: FolderResult) -> None:
    """The summary for people, on stderr."""
    from nafnet_deploy.runtime.anytime import counted

    words = [f"{len(result.restored)} restored", f"{len(result.failed)} failed"]
    if result.before:
        words.append(f"{result.before} done by an earlier run")
    if result.skipped:
        words.append(f"{result.skipped} skipped")
    say(f"{plan.folder} -> {plan.out}: {', '.join(words)}")
    for failure in result.failed:
        say(f"  {failure.source.relative_to(result.folder)}: {failure.error}")
    if result.engine:
        thought = counted(result.iterations) if result.iterations else f"N = {opening.iterations}"
        say(f"engine: {result.engine}, {thought}; {len(result.restored) / result.seconds:.1f} pictures per second")
