"""`nafdeploy triton`: a model repository for NVIDIA Triton."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import say
from nafnet_deploy.released import DEFAULT_MODEL


def triton(
    bundle: str = typer.Argument(DEFAULT_MODEL, help="A released model, an .onnx file, or a plan of TensorRT."),
    model_repo: Path = typer.Option(..., "--model-repo", metavar="DIR", help="The repository; made when missing."),
    name: str | None = typer.Option(None, help="Name of the model. (default: the bundle's)"),
    version: int = typer.Option(1, help="Version, a number; one that is there is never overwritten without --replace."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N in the graph. (default: the model's)"),
    max_batch: int = typer.Option(8, help="Largest batch that Triton forms."),
    delay_us: int = typer.Option(5000, help="How long Triton waits to fill a batch (microseconds)."),
    instances: int = typer.Option(1, help="Copies of the model per device."),
    device: str = typer.Option("auto", help="auto, cpu or gpu."),
    replace: bool = typer.Option(False, "--replace", help="Overwrite the version, and a configuration that differs."),
) -> None:
    """Write a model repository that NVIDIA Triton loads."""
    from nafnet_deploy.serving.triton import TritonWish, write_repository

    wish = TritonWish(name, version, iters, max_batch, delay_us, instances, device, replace)
    written = write_repository(bundle, model_repo, wish)
    say(f"{written} and {written.parent / 'config.pbtxt'}")
