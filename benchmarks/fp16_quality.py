"""Measures what half precision costs the picture, with a trained checkpoint on noisy crops.

    python benchmarks/fp16_quality.py CHECKPOINT FOLDER [-o benchmarks/results/fp16-NAME.json]

The half graph runs in its own arithmetic by the oracle (`nafnet_deploy.parity.oracle`), the network in float32
PyTorch. Exit code 5 when the mean PSNR of the restored crops changes by 0.02 dB or a crop agrees with float32's by
60 dB or less, at any iteration.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from nafnet_deploy.benchmarks.half_quality import measure, middles
from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.cli.console import say, show
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import sha256_of
from nafnet_deploy.parity.oracle import OracleEngine


def main(
    checkpoint: str = typer.Argument(help="Checkpoint of a denoiser."),
    folder: Path = typer.Argument(help="Folder of clean pictures."),
    iters: int = typer.Option(5, help="Largest N."),
    sigma: float = typer.Option(25.0, help="Gaussian noise, in steps of 255."),
    crops: int = typer.Option(10, help="Number of crops."),
    pixels: int = typer.Option(96, help="Height and width of a crop."),
    fp32_trunk: bool = typer.Option(False, "--fp32-trunk", help="Keep the residual trunk in float32."),
    out: Path | None = typer.Option(None, "-o", "--out", help="JSON file to write."),
) -> None:
    """Compare a half graph with its float32 network on noisy crops."""
    clean = middles(folder, crops, pixels)
    with TemporaryDirectory() as scratch:
        source, sha256 = checkpoint, ""
        if Path(checkpoint).is_file():  # a copy: a training run may replace the file between loading and hashing
            source = shutil.copy(checkpoint, scratch)
            sha256 = sha256_of(Path(source))
        loaded = load_model(source)
        recipe = ExportRecipe(iterations=iters, precision="fp16", fp32_trunk=fp32_trunk, output=scratch)
        bundle = export_bundle(loaded, recipe, on_warning=say)
        report = measure(
            bundle.manifest,
            lambda n: OracleEngine.open(bundle, n),
            reference(loaded.network()),
            clean,
            folder.resolve().name,
            sigma,
            checkpoint_sha256=sha256,
        )
    show(report.table())
    if out is not None:
        out.write_text(report.to_json(), encoding="utf-8")
    raise typer.Exit(0 if report else 5)


if __name__ == "__main__":
    typer.run(main)
