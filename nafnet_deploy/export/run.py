"""Checkpoint in, bundle out: fold, choose precision, unroll, clean, prove, and only then give the files their names."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError, UsageError
from nafnet_deploy.export import calibration, graph
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.precision import HalfPlan, plan_half, round_weights, to_half
from nafnet_deploy.export.proof import prove, prove_half
from nafnet_deploy.export.ranges import Ranges, scan
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.unroll import OUTPUT, iteration_values, to_onnx
from nafnet_deploy.manifest import Bundle, ModelManifest, bundle_file, open_bundle, sha256_of
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import padding_mode, pictures, tile_overlap
from nafnet_deploy.parity.golden import Case, write_golden
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes

GOLDEN_SIZES = ((32, 48),)
"""Heights and widths of the golden inputs: small, because every iteration of each is stored."""
STEREO_SIDES = (1024, 2048)
"""Sides (pixels) at which the memory of a network with attention along rows is worked out: it grows with the width."""
PACKAGES = ("nafnet-deploy", "torch", "onnx", "onnxscript", "onnxruntime")
Shape = tuple[int, int, int, int]


def export_bundle(
    checkpoint: Checkpoint,
    recipe: ExportRecipe,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_warning: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Exports a checkpoint as graph, manifest and golden file.

    Everything is made and checked in a temporary folder beside the target; a failure leaves nothing behind.

    Args:
        checkpoint: weights and configuration.
        recipe: what to make.
        on_stage: told the name of each stage as it begins.
        on_warning: told each part that an fp16 graph keeps in float32 because its values come near half's limit.

    Raises:
        ConfigError: iterations, a size or a window of TLC that the network does not take.
        ExportError: the exporter failed, or the graph does not compute what the network computes.
        UsageError: the target folder cannot be written, or the pictures of `calibrate` cannot be read.
    """
    config = checkpoint.config
    iterations = config.iterations if recipe.iterations is None else recipe.iterations
    if not config.positions and iterations != 1:
        raise ConfigError(f"{iterations} iterations: this network has no reasoning to repeat.", "Use --iters 1.")
    default = iterations if recipe.default_iterations is None else recipe.default_iterations
    if default > iterations:
        raise ConfigError(f"default_iterations = {default} exceeds the {iterations} in the graph.", "Lower it.")
    shape = recipe.shape(config)
    target = target_path(checkpoint, recipe, iterations)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent)
    except OSError as error:
        raise UsageError(f"{target.parent} cannot be written: {error.strerror}.", "Choose another -o.") from error
    with scratch as folder:
        draft = Path(folder) / target.name
        network = localise(checkpoint.network(), config, recipe.tlc)
        module, half = fold(network), None
        if recipe.precision == "fp16":
            on_stage("scan ranges")
            half = _choose_islands(module, checkpoint, recipe, iterations)
            for part, reason in half.ranges.dangers().items():
                on_warning(f"{part} stays in float32: {reason}.")
            module = to_half(module, half.plan)

        def make(shape: tuple[int | str, ...]) -> onnx.ModelProto:
            traced = _trace(shape, config.size_multiple)
            made = to_onnx(module, config, iterations, *traced, recipe.opset)
            return _graph(made, checkpoint.name, scaled(shape, config.scale))

        on_stage("fold and unroll")
        model = make(shape)
        onnx.save(model, draft)
        manifest = _manifest(checkpoint, model, iterations, default, recipe, half)
        on_stage("record golden outputs")
        compute = reference(network)
        inputs = [natural_batch(s, seed) for seed, s in enumerate(parity_shapes(manifest, GOLDEN_SIZES))]
        write_golden(bundle_file(draft, ".golden.npz"), [Case(x, tuple(compute(x, iterations))) for x in inputs])
        hashes = {suffix: sha256_of(bundle_file(draft, suffix)) for suffix in (".onnx", ".golden.npz")}
        manifest = dataclasses.replace(manifest, sha256=hashes)
        on_stage("prove parity")
        bundle = Bundle(draft, manifest)
        if half is None:
            found = prove(bundle, compute)
        else:
            rounded = reference(round_weights(fold(network), half.plan))
            found = prove_half(bundle, compute, rounded, lambda: make(("batch", config.planes, "height", "width")))
        manifest = dataclasses.replace(manifest, parity=found)
        bundle_file(draft, ".json").write_text(manifest.to_json(), encoding="utf-8")
        for suffix in (".golden.npz", ".json", ".onnx"):  # the graph last: it is what others look for
            bundle_file(draft, suffix).replace(bundle_file(target, suffix))
    return open_bundle(target)


def target_path(checkpoint: Checkpoint, recipe: ExportRecipe, iterations: int) -> Path:
    """Where the graph goes: the name asked for, or `<folder>/<model>-n<N>-<shape>[-tlc<window>]-<precision>.onnx`."""
    output = Path(recipe.output)
    if output.suffix == ".onnx":
        return output
    if recipe.name:
        return output / f"{recipe.name}.onnx"
    name = checkpoint.name or Path(recipe.model).stem
    size = recipe.size()
    place = "dynamic" if size is None else f"{size[0]}x{size[1]}"
    batch = "" if recipe.batch in ("dynamic", 1) else f"-b{recipe.batch}"
    local = f"-tlc{recipe.tlc}" if recipe.tlc else ""
    return output / f"{name}-n{iterations}-{place}{batch}{local}-{recipe.precision}.onnx"


@dataclasses.dataclass(frozen=True)
class _Half:
    """What the range scan found and decided."""

    plan: HalfPlan
    ranges: Ranges
    calibration: str


def _choose_islands(folded: nn.Module, checkpoint: Checkpoint, recipe: ExportRecipe, iterations: int) -> _Half:
    if recipe.calibrate:
        inputs, words = calibration.folder_inputs(Path(recipe.calibrate), checkpoint.config)
    else:
        inputs, words = calibration.seeded_inputs(checkpoint.config), "seeded pictures"
    found = scan(folded, inputs, iterations)
    return _Half(plan_half(found, recipe.fp32_trunk), found, words)


def _graph(model: onnx.ModelProto, name: str, shape: tuple[int | str, ...]) -> onnx.ModelProto:
    graph.pool_globally(model)
    graph.finish(model, name, shape, [OUTPUT])
    graph.check(model)
    return model


def scaled(shape: tuple[int | str, ...], scale: int) -> tuple[int | str, ...]:
    """The output's shape for an input's: heights and widths times the scale, in words where they are free."""
    if scale == 1:
        return shape
    return (*shape[:2], *(d * scale if isinstance(d, int) else f"{scale}*{d}" for d in shape[2:]))


def _trace(shape: tuple[int | str, ...], multiple: int) -> tuple[Shape, dict[int, str]]:
    """The shape to trace with (free dimensions all different, none 1) and the free dimensions by index."""
    sizes = {"batch": 2, "height": 8 * multiple, "width": 10 * multiple}
    traced = tuple(sizes[d] if isinstance(d, str) else d for d in shape)
    free = {i: d for i, d in enumerate(shape) if isinstance(d, str)}
    return (traced[0], traced[1], traced[2], traced[3]), free


def reference(network: nn.Module) -> Callable[[NDArray[np.float32], int], list[NDArray[np.float32]]]:
    """FP32 PyTorch as a function: (batch [B, C, H, W], N) -> pictures of iterations 1..N."""

    @torch.inference_mode()
    def compute(batch: NDArray[np.float32], iterations: int) -> list[NDArray[np.float32]]:
        return [p.numpy() for p in pictures(network, torch.from_numpy(batch), iterations)]

    return compute


def _manifest(
    checkpoint: Checkpoint,
    model: onnx.ModelProto,
    iterations: int,
    default: int,
    recipe: ExportRecipe,
    half: _Half | None,
) -> ModelManifest:
    config = checkpoint.config
    sizes = _sizes(config, 32 * config.size_multiple)
    memory, per_column = _activation_bytes(model, config)
    return ModelManifest(
        name=checkpoint.name or Path(recipe.model).stem,
        task=checkpoint.task,
        model=config,
        iterations=iterations,
        default_iterations=default,
        iteration_values=iteration_values(config, iterations),
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
    )


def _sizes(config: ModelConfig, side: int) -> dict[str, int]:
    """Values of the free dimensions for a square picture, those of the output included."""
    free = scaled(("batch", config.planes, "height", "width"), config.scale)
    return {"batch": 1, "height": side, "width": side} | {
        d: config.scale * side for d in free[2:] if isinstance(d, str)
    }


def _activation_bytes(model: onnx.ModelProto, config: ModelConfig) -> tuple[float, float]:
    """(bytes per pixel, further bytes per pixel for every column) of the activations."""
    if config.views == 1:
        return graph.activation_bytes_per_pixel(model, _sizes(config, 32 * config.size_multiple)), 0.0
    narrow, wide = (graph.activation_bytes_per_pixel(model, _sizes(config, side)) for side in STEREO_SIDES)
    per_column = (wide - narrow) / (STEREO_SIDES[1] - STEREO_SIDES[0])
    return narrow - per_column * STEREO_SIDES[0], per_column
