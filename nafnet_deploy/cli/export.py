"""`nafdeploy export`: checkpoint in, ONNX bundle out."""

from __future__ import annotations

from pathlib import Path

import typer

from nafnet_deploy.cli.console import positive, progress, say


def export(
    model: str | None = typer.Argument(None, help="Checkpoint, released model or preset. [default: denoise-light]"),
    iters: int | None = typer.Option(None, help="Reasoning iterations N to unroll. [default: the checkpoint's]"),
    imgsz: str | None = typer.Option(None, help="256, HxW or dynamic. [default: dynamic]"),
    batch: str | None = typer.Option(None, help="A number or dynamic. [default: dynamic]"),
    opset: int | None = typer.Option(None, help="ONNX operator set, 18 or newer. [default: 18]"),
    out: str | None = typer.Option(None, "-o", "--out", help="Folder, or a name ending with .onnx. [default: export]"),
    recipe: Path | None = typer.Option(None, help="TOML recipe; the options above win over it."),
) -> None:
    """Export a network as an ONNX graph with its recurrence unrolled, and prove the graph."""
    from nafnet_deploy.errors import MissingDependency

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
            "imgsz": imgsz,
            "batch": int(batch) if batch is not None and batch.isdecimal() else batch,
            "opset": opset,
            "output": out,
        },
    )
    checkpoint = load_model(wanted.model)
    with progress() as bar:
        task = bar.add_task("export", total=4)

        def stage(name: str) -> None:
            bar.update(task, description=name, advance=1)

        bundle = export_bundle(checkpoint, wanted, stage)
    manifest = bundle.manifest
    say(
        f"{bundle.graph} ({bundle.graph.stat().st_size / 1e6:.1f} MB): {manifest.iterations} iterations, "
        f"{manifest.precision}, opset {manifest.opset}"
    )
    say(f"proved against PyTorch: max abs error {manifest.parity['max_abs_error']:.1e} over every iteration")
