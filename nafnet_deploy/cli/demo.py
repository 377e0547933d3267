"""`nafdeploy demo`: a sample photograph, spoiled and restored."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import positive, say
from nafnet_deploy.released import DEFAULT_MODEL


def demo(
    out: Path = typer.Option(Path("demo"), "-o", "--out", help="Folder of the pictures."),
    model: str = typer.Option(DEFAULT_MODEL, "-m", "--model", help="A released model or an exported .onnx file."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N. (default: the model's)"),
    sigma: float = typer.Option(25.0, help="Noise level, in steps of 255."),
) -> None:
    """Restore a noisy sample photograph, and show both side by side."""
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.demo import run_demo
    from nafnet_deploy.runtime.restorer import Restorer

    bundle = find_bundle(model)
    iterations = positive(iters, "--iters") or bundle.manifest.default_iterations
    with open_engine("onnxruntime", bundle, iterations) as engine:
        result = run_demo(Restorer(engine, bundle.manifest), out, sigma)
    say(f"noisy     {result.noisy}  {result.noisy_psnr:.2f} dB")
    say(f"restored  {result.restored}  {result.restored_psnr:.2f} dB, {iterations} iterations")
    say(f"look at   {result.comparison}")
