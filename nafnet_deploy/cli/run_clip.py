"""`nafdeploy run CLIP`: progress and summary of a clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nafnet_deploy.cli.console import progress, say

if TYPE_CHECKING:
    from nafnet_deploy.runtime.opening import Opening


def run_clip(opening: Opening, source: Path, out: Path | None, codec: str, crf: int, as_json: bool) -> None:
    """Restores a clip and says what became of it."""
    from nafnet_deploy.runtime.anytime import counted
    from nafnet_deploy.runtime.video import clip_target, restore_clip

    target = clip_target(source) if out is None else out
    if target.is_dir():
        target = target / clip_target(source).name
    with opening.open(say) as restorer, progress("frames") as bar:
        task = bar.add_task(source.name, total=None)
        result = restore_clip(
            restorer,
            source,
            target,
            codec,
            crf,
            lambda done, total: bar.update(task, completed=done, total=max(total, done) if total else None),
        )
        engine = restorer.engine.name
    rate = result.frames / result.seconds
    say(f"{source} -> {target}: {result.frames} frames, {rate:.1f} per second")
    if result.left_out:
        say(f"left out: {', '.join(result.left_out)}")
    say(f"engine: {engine}, {counted(result.iterations) if result.iterations else f'N = {opening.iterations}'}")
    if as_json:
        json.dump({"source": str(source), "target": str(target), **result.to_json()}, sys.stdout, indent=2)
        print()
