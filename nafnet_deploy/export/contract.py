"""The manifest of an export: what was asked, what was made, and what a run must know."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path

import onnx

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export import graph
from nafnet_deploy.export.precision import HalfPlan
from nafnet_deploy.export.ranges import Ranges
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.unroll import iteration_values
from nafnet_deploy.manifest import ModelManifest, PartSpec
from nafnet_deploy.models.registry import padding_mode, tile_overlap

STEREO_SIDES = (1024, 2048)
"""Sides (pixels) at which the memory of a network with attention along rows is worked out: it grows with the width."""
PACKAGES = ("nafnet-deploy", "torch", "onnx", "onnxscript", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Half:
    """What the range scan found and decided."""

    plan: HalfPlan
    """What stays in float32."""
    ranges: Ranges
    """The largest values found."""
    calibration: str
    """The pictures they were found on."""


def write_contract(
    checkpoint: Checkpoint,
    model: onnx.ModelProto,
    iterations: tuple[int, int],
    recipe: ExportRecipe,
    half: Half | None,
    parts: dict[str, PartSpec],
) -> ModelManifest:
    """The manifest of a bundle, before its files have hashes and its proof is known.

    Args:
        checkpoint: what was exported.
        model: the whole graph.
        iterations: those in the graph (of a split bundle: to prove), and those that a run takes unasked.
        recipe: what was asked.
        half: what the range scan decided; None for fp32.
        parts: the graphs of a split bundle; empty for an unrolled one.
    """
    config = checkpoint.config
    sizes = free_sizes(config, 32 * config.size_multiple)
    memory, per_column = _activation_bytes(model, config)
    return ModelManifest(
        name=checkpoint.name or Path(recipe.model).stem,
        task=checkpoint.task,
        model=config,
        iterations=iterations[0],
        default_iterations=iterations[1],
        iteration_values={} if parts else iteration_values(config, iterations[0]),
        inputs=graph.tensor_specs(model.graph.input),
        outputs=graph.tensor_specs(model.graph.output),
        size_multiple=config.size_multiple,
        scale=config.scale,
        padding=padding_mode(config),
        tile_overlap=tile_overlap(config),
        activation_bytes_per_pixel=memory,
        activation_bytes_per_column=per_column,
        color="RGB",
        value_range=(0.0, 1.0),
        precision=recipe.precision,
        opset=model.opset_import[0].version,
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        provenance=checkpoint.provenance,
        sha256={},
        parity={},
        float32_islands=half.plan.islands if half else {},
        half_share=graph.half_share(model, sizes),
        ranges=half.ranges.classes if half else {},
        calibration=half.calibration if half else "",
        tlc=recipe.tlc,
        parts=parts,
    )


def free_sizes(config: ModelConfig, side: int) -> dict[str, int]:
    """Values of the free dimensions for a square picture, those of the output included."""
    free = scaled(("batch", config.planes, "height", "width"), config.scale)
    return {"batch": 1, "height": side, "width": side} | {
        d: config.scale * side for d in free[2:] if isinstance(d, str)
    }


def _activation_bytes(model: onnx.ModelProto, config: ModelConfig) -> tuple[float, float]:
    """(bytes per pixel, further bytes per pixel for every column) of the activations."""
    if config.views == 1:
        return graph.activation_bytes_per_pixel(model, free_sizes(config, 32 * config.size_multiple)), 0.0
    narrow, wide = (graph.activation_bytes_per_pixel(model, free_sizes(config, side)) for side in STEREO_SIDES)
    per_column = (wide - narrow) / (STEREO_SIDES[1] - STEREO_SIDES[0])
    return narrow - per_column * STEREO_SIDES[0], per_column


def scaled(shape: tuple[int | str, ...], scale: int) -> tuple[int | str, ...]:
    """The output's shape for an input's: heights and widths times the scale, in words where they are free."""
    if scale == 1:
        return shape
    return (*shape[:2], *(d * scale if isinstance(d, int) else f"{scale}*{d}" for d in shape[2:]))
