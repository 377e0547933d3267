"""`nafdeploy degrade`: clean pictures in, degraded pictures or training pairs out."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import say
from nafnet_deploy.cli.folders import picture_progress, report_failures


def degrade(
    clean: Path = typer.Argument(..., metavar="CLEAN", help="A folder of clean pictures."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder of the results."),
    type_: str = typer.Option(..., "--type", help="blur, motion, noise, jpeg, scale or combined (any of them)."),
    sigma: tuple[float, float] | None = typer.Option(
        None, metavar="LOW HIGH", help="noise: deviation, in steps of 255. (default: 5 50)"
    ),
    blur_sigma: tuple[float, float] | None = typer.Option(
        None, metavar="LOW HIGH", help="blur: deviation of a Gaussian in pixels. (default: 0.5 3)"
    ),
    motion: tuple[float, float] | None = typer.Option(
        None, metavar="LOW HIGH", help="blur, motion: length in pixels. (default: 7 15)"
    ),
    quality: tuple[int, int] | None = typer.Option(
        None, metavar="LOW HIGH", help="jpeg: quality, 1 to 95. (default: 30 90)"
    ),
    scale: tuple[float, float] | None = typer.Option(
        None, metavar="LOW HIGH", help="scale: share that sides shrink to and come back from. (default: 0.3 0.7)"
    ),
    create_paired: bool = typer.Option(False, "--create-paired", help="Write {train,val}/{degraded,clean}."),
    val_share: float | None = typer.Option(None, help="Pairs: share of the pictures that goes to val. (default: 0.1)"),
    versions: int = typer.Option(1, help="Degraded versions of each picture."),
    seed: int = typer.Option(0, help="Seed of the degradations and of the split."),
    recursive: bool = typer.Option(False, "--recursive", help="Read the folders below CLEAN too."),
    format_: str = typer.Option("png", "--format", help="png, tif, jpg or webp; of the degraded pictures."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that exist."),
) -> None:
    """Degrade every picture of a folder, reproducibly. With --create-paired, lay out training pairs."""
    from nafnet_deploy.errors import ConfigError, MissingDependency

    try:
        from nafnet_deploy.data.synthesis import VAL_SHARE, SynthesisConfig, degrade_folder, read_degradation
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "scipy", "train", "to degrade pictures") from error

    if val_share is not None and not create_paired:
        raise ConfigError("--val-share divides pairs, and none are made.", "Add --create-paired, or leave it out.")
    ranges = {"sigma": sigma, "blur_sigma": blur_sigma, "motion": motion, "quality": quality, "scale": scale}
    config = SynthesisConfig(
        read_degradation(type_, {name: value for name, value in ranges.items() if value is not None}),
        create_paired,
        VAL_SHARE if val_share is None else val_share,
        versions,
        seed,
        recursive,
        format_,
        overwrite,
    )
    with picture_progress(clean) as moved:
        result = degrade_folder(clean, out, config, moved)
    if create_paired:
        done = f"{result.written.get('train', 0)} pairs for training, {result.written.get('val', 0)} for validation"
    else:
        done = f"{result.written['']} degraded"
    say(f"{clean} -> {out}: {done}, {len(result.failed)} failed")
    report_failures(result.failed)
