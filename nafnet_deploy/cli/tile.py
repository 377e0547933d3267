"""`nafdeploy tile`: full frames in, overlapping tiles out."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import say
from nafnet_deploy.cli.folders import picture_progress, report_failures


def tile(
    folder: Path = typer.Argument(
        ..., metavar="FOLDER", help="Pictures, or degraded/ and clean/, or blur/ and sharp/."
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder of the tiles."),
    size: int = typer.Option(512, help="Side of a tile (pixels)."),
    overlap: int = typer.Option(256, help="Pixels that neighbours share."),
    border: str = typer.Option(
        "shift", help="shift: the last tile ends at the border; drop: the remainder is left out."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the tiles of pictures that were cut before."),
) -> None:
    """Cut the pictures of a folder into tiles. Both pictures of a pair are cut at the same places."""
    from nafnet_deploy.data.tiles import TileConfig, tile_folder

    config = TileConfig(size, overlap, border, overwrite)
    with picture_progress(folder) as moved:
        result = tile_folder(folder, out, config, moved)
    pairs = f" of each of {len(result.kinds)} folders" if len(result.kinds) > 1 else ""
    say(f"{folder} -> {out}: {result.frames} frames cut into {result.tiles} tiles{pairs}, {len(result.failed)} failed")
    report_failures(result.failed)
