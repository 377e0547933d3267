"""`nafdeploy export`: checkpoint in, ONNX bundle out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import positive, progress, say

if TYPE_CHECKING:
    from nafnet_deploy.manifest import ModelManifest


def export(
    model: str | None = typer.Argument(None, help="Checkpoint, released model or preset. (default: denoise-light)"),
    iters: int | None = typer.Option(None, help="Reasoning iterations N to unroll. (default: the checkpoint's)"),
    mode: str | None = typer.Option(
        None,
        help="unrolled: N iterations in one graph. split: head, step and tail, N chosen while it runs. "
        "(default: unrolled)",
    ),
    task: str | None = typer.Option(
        None,
        help="Of an all-in-one network: keep one task's experts, e.g. denoising, or infer. (default: the checkpoint's)",
    ),
    imgsz: str | None = typer.Option(None, help="256, HxW or dynamic. (default: dynamic)"),
    batch: str | None = typer.Option(None, help="A number or dynamic. (default: dynamic)"),
    precision: str | None = typer.Option(None, help="fp32, or fp16 with float32 islands. (default: fp32)"),
    calibrate: Path | None = typer.Option(
        None, help="Folder of pictures over which an fp16 export looks for values that half cannot hold."
    ),
    fp32_trunk: bool | None = typer.Option(
        None, "--fp32-trunk", help="Keep an fp16 graph's residual trunk in float32: closer, more memory traffic."
    ),
    tlc: int | None = typer.Option(
        None,
        help="Window of local means in place of global ones, e.g. 384 (1.5 times the training crops). (default: 0)",
    ),
    opset: int | None = typer.Option(None, help="ONNX operator set, 18 or newer. (default: 18)"),
    out: str | None = typer.Option(None, "-o", "--out", help="Folder, or a name ending with .onnx. (default: export)"),
    recipe: Path | None = typer.Option(None, help="TOML recipe; the options above win over it."),
) -> None:
    """Export a network as an ONNX graph, and prove it. Its recurrence is unrolled, or in steps."""
    from nafnet_deploy.errors import MissingDependency
    from nafnet_deploy.manifest import bundle_file

    try:
        from nafnet_deploy.checkpoints.catalogue import load_model
        from nafnet_deploy.export.recipe import read_export_recipe
        from nafnet_deploy.export.run import export_bundle
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", "export", "to export a network") from error

    wanted = read_export_recipe(
        recipe,
        {
            "model": model,
            "iterations": positive(iters, "--iters"),
            "mode": mode,
            "task": task,
            "imgsz": imgsz,
            "batch": int(batch) if batch is not None and batch.isdecimal() else batch,
            "precision": precision,
            "calibrate": None if calibrate is None else str(calibrate),
            "fp32_trunk": fp32_trunk,
            "tlc": tlc,
            "opset": opset,
            "output": out,
        },
    )
    checkpoint = load_model(wanted.model)
    with progress() as bar:
        stages = bar.add_task("export", total=3 if wanted.precision == "fp32" else 4)

        def stage(name: str) -> None:
            bar.update(stages, description=name, advance=1)

        warnings: list[str] = []
        bundle = export_bundle(checkpoint, wanted, stage, warnings.append)
    manifest = bundle.manifest
    size = sum(graph.stat().st_size for graph in bundle.graphs.values()) / 1e6
    if manifest.parts:
        what = f"{bundle_file(bundle.graph, '.json')} and {', '.join(manifest.parts)} ({size:.1f} MB): any N"
    else:
        what = f"{bundle.graph} ({size:.1f} MB): {manifest.iterations} iterations"
    local = f", local means over {manifest.tlc} pixels" if manifest.tlc else ""
    say(f"{what}, {manifest.precision}, opset {manifest.opset}{local}")
    for line in warnings:
        say(f"warning: {line}")
    say(_proof(manifest))


def _proof(manifest: ModelManifest) -> str:
    found = manifest.parity
    if manifest.precision == "fp32":
        over = f"N = 1 to {manifest.iterations}" if manifest.parts else "every iteration"
        return f"proved against PyTorch: max abs error {found['max_abs_error']:.1e} over {over}"
    decibels = found.get("min_psnr", math.inf)
    return (
        f"proved against FP32 PyTorch at every iteration: {decibels:.1f} dB or more in float16 arithmetic, "
        f"{manifest.half_share:.0%} of the convolutions' work in float16"
    )
