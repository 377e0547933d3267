"""Checkpoint in, bundle out: fold, choose precision, unroll, clean, prove, and only then give the files their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import INFER, ModelConfig
from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.engines.torch import TorchEngine
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export import calibration, graph
from nafnet_deploy.export.contract import Half, scaled, write_contract
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.places import draft_folder, target_path
from nafnet_deploy.export.precision import agreement, plan_half, round_weights, to_half
from nafnet_deploy.export.proof import prove, prove_half
from nafnet_deploy.export.ranges import scan
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.sizes import name_sizes
from nafnet_deploy.export.split import Stepped, check_splits, split_graph
from nafnet_deploy.export.unroll import OUTPUT, to_onnx, unroll
from nafnet_deploy.manifest import Bundle, ModelManifest, PartSpec, bundle_file, open_bundle, part_suffix, sha256_of
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import picture, pictures
from nafnet_deploy.parity.golden import Case, write_golden
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes
from nafnet_deploy.parity.tile_facts import measure_tiles
from nafnet_deploy.parity.tolerance import LIMITS, TILED
from nafnet_deploy.runtime.step_measures import measure_stopping

GOLDEN_SIZES = ((32, 48),)
"""Heights and widths of the golden inputs: small, because every iteration of each is stored."""
TRIAL_PIXELS = 32
"""Height and width (pixels) at which a half trunk is tried: PyTorch is slow in half on a CPU."""
ENOUGH = (LIMITS["fp16"].min_psnr or 0) + 3
"""Agreement (dB) below which the trunk stays in float32: the proof, whose pictures are others, asks for 3 less."""
PROVED_ITERATIONS = 5
"""Iterations of a split bundle that are proved when nobody asks for another number; it runs any."""
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
        ConfigError: iterations, a size, a task or a window of TLC that the network does not take.
        ExportError: the exporter failed, or the graph does not compute what the network computes.
        UsageError: the target folder cannot be written, or the pictures of `calibrate` cannot be read.
    """
    checkpoint = for_task(checkpoint, recipe.task)
    config = checkpoint.config
    iterations, default = _iterations(config, recipe)
    shape = recipe.shape(config)
    target = target_path(checkpoint, recipe, iterations)
    with draft_folder(target) as folder:
        draft = folder / target.name
        network = localise(checkpoint.network(), config, recipe.tlc)
        module, half = fold(network), None
        if recipe.precision == "fp16":
            on_stage("scan ranges")
            half = _choose_islands(module, checkpoint, recipe, iterations)
            for part, reason in half.plan.reasons.items():
                if not recipe.fp32_trunk or part in half.ranges.dangers():
                    on_warning(f"{part} stays in float32: {reason}.")
            module = to_half(module, half.plan)

        def make(shape: tuple[int | str, ...], draft: Path) -> tuple[onnx.ModelProto, dict[str, PartSpec]]:
            """Traces the network and writes its graph, or the parts of it."""
            traced = _trace(shape, config.size_multiple)
            if recipe.mode == "split":
                stepped = Stepped(module)
                made = to_onnx(stepped, stepped.taps, *traced, recipe.opset)
            else:
                made = unroll(module, config, iterations, *traced, recipe.opset)
            model = _graph(made, checkpoint.name, scaled(shape, config.scale))
            if not recipe.tlc or recipe.size() is not None:  # else a window covers small pictures and not large ones
                name_sizes(model, 8 * config.size_multiple)
            graph.check(model)
            if recipe.mode == "split":
                return model, _write_parts(split_graph(model, shape[0]), draft)
            onnx.save(model, draft)
            return model, {}

        on_stage("fold and unroll" if recipe.mode == "unrolled" else "fold and split")
        model, parts = make(shape, draft)
        manifest = write_contract(checkpoint, model, (iterations, default), recipe, half, parts)
        on_stage("record golden outputs")
        compute = reference(network)
        inputs = [natural_batch(s, seed) for seed, s in enumerate(parity_shapes(manifest, GOLDEN_SIZES))]
        write_golden(bundle_file(draft, ".golden.npz"), [Case(x, tuple(compute(x, iterations))) for x in inputs])
        graphs = tuple(Bundle(draft, manifest).graphs)
        hashes = {suffix: sha256_of(bundle_file(draft, suffix)) for suffix in (*graphs, ".golden.npz")}
        manifest = dataclasses.replace(manifest, sha256=hashes)
        if config.planes == 3:  # what cuts pictures into tiles takes RGB
            on_stage("measure tiles")
            manifest = _tile_facts(network, Bundle(draft, manifest))
        if parts:
            manifest = dataclasses.replace(manifest, stopping=measure_stopping(Bundle(draft, manifest), inputs))
        on_stage("prove parity")
        bundle = Bundle(draft, manifest)
        if half is None:
            found = prove(bundle, compute)
        else:
            free = ("batch", config.planes, "height", "width")
            rounded = reference(round_weights(fold(network), half.plan))
            found = prove_half(bundle, compute, rounded, lambda path: make(free, path))
        manifest = dataclasses.replace(manifest, parity=found)
        bundle_file(draft, ".json").write_text(manifest.to_json(), encoding="utf-8")
        for suffix in (".golden.npz", ".json", *graphs):  # the graphs last: they are what others look for
            bundle_file(draft, suffix).replace(bundle_file(target, suffix))
    return open_bundle(bundle_file(target, graphs[0]))


def for_task(checkpoint: Checkpoint, task: str) -> Checkpoint:
    """The checkpoint of an all-in-one network with the experts of `task`, named after it; itself where that is empty.

    Raises:
        ConfigError: the network has no experts.
    """
    if not task:
        return checkpoint
    if not checkpoint.config.expert:
        raise ConfigError(f"--task {task}: {checkpoint.name} has no experts to choose from.", "Leave --task out.")
    config = dataclasses.replace(checkpoint.config, expert=task)
    served = checkpoint.task if task == INFER else task
    name = f"{checkpoint.name}-{task}" if checkpoint.name else task
    return dataclasses.replace(checkpoint, name=name, config=config, task=served)


def _iterations(config: ModelConfig, recipe: ExportRecipe) -> tuple[int, int]:
    """Iterations in the graph (of a split bundle: to prove), and those that a run takes unasked."""
    if recipe.mode == "split":
        check_splits(config)
        if recipe.tlc and recipe.size() is None:
            raise ConfigError(
                "--tlc in steps is possible at a fixed size alone: a step would need the size of the picture.",
                "Add --imgsz HxW, or use --mode unrolled.",
            )
        proved = max(config.iterations, PROVED_ITERATIONS) if recipe.iterations is None else recipe.iterations
        iterations, default = proved, min(config.iterations, proved)
    else:
        iterations = default = config.iterations if recipe.iterations is None else recipe.iterations
    if not config.positions and iterations != 1:
        raise ConfigError(f"{iterations} iterations: this network has no reasoning to repeat.", "Use --iters 1.")
    if recipe.default_iterations is not None:
        default = recipe.default_iterations
    if default > iterations:
        raise ConfigError(f"default_iterations = {default} exceeds the {iterations} in the graph.", "Lower it.")
    return iterations, default


def _choose_islands(folded: nn.Module, checkpoint: Checkpoint, recipe: ExportRecipe, iterations: int) -> Half:
    if recipe.calibrate:
        inputs, words = calibration.folder_inputs(Path(recipe.calibrate), checkpoint.config)
    else:
        inputs, words = calibration.seeded_inputs(checkpoint.config), "seeded pictures"
    found = scan(folded, inputs, iterations)
    plan = plan_half(found, "it was asked for" if recipe.fp32_trunk else "")
    if not plan.trunk:
        side = max(TRIAL_PIXELS, checkpoint.config.size_multiple)
        trial = agreement(folded, plan, torch.from_numpy(inputs[0][..., :side, :side]), iterations)
        if not trial >= ENOUGH:
            plan = plan_half(found, f"without, the picture agrees with that of float32 by {trial:.1f} dB alone")
    return Half(plan, found, words)


def _write_parts(parts: Mapping[str, onnx.ModelProto], draft: Path) -> dict[str, PartSpec]:
    for name, part in parts.items():
        onnx.save(part, bundle_file(draft, part_suffix(name)))
    return {
        n: PartSpec(graph.tensor_specs(p.graph.input), graph.tensor_specs(p.graph.output)) for n, p in parts.items()
    }


def _graph(model: onnx.ModelProto, name: str, shape: tuple[int | str, ...]) -> onnx.ModelProto:
    graph.pool_globally(model)
    graph.finish(model, name, shape, [OUTPUT])
    return model


def _trace(shape: tuple[int | str, ...], multiple: int) -> tuple[Shape, dict[int, str]]:
    """The shape to trace with (free dimensions all different, none 1) and the free dimensions by index."""
    sizes = {"batch": 2, "height": 8 * multiple, "width": 10 * multiple}
    traced = tuple(sizes[d] if isinstance(d, str) else d for d in shape)
    free = {i: d for i, d in enumerate(shape) if isinstance(d, str)}
    return (traced[0], traced[1], traced[2], traced[3]), free


def _tile_facts(network: nn.Module, bundle: Bundle) -> ModelManifest:
    """The manifest with what the network, in float32, says about tiles.

    A float32 graph that takes any size is asked in the network's place: it is proved next, and the network would spend
    most of its time in Python.
    """
    manifest = bundle.manifest
    free = all(isinstance(manifest.inputs[0].shape[axis], str) for axis in (0, 2, 3))
    if manifest.precision == "fp32" and free and not manifest.parts:
        engine: Engine = OnnxRuntimeEngine(str(bundle.graph))
    else:
        engine = TorchEngine(lambda batch: picture(network, batch, manifest.iterations))
    with engine:
        return measure_tiles(engine, manifest, TILED)


def reference(network: nn.Module) -> Callable[[NDArray[np.float32], int], list[NDArray[np.float32]]]:
    """FP32 PyTorch as a function: (batch [B, C, H, W], N) -> pictures of iterations 1..N."""

    @torch.inference_mode()
    def compute(batch: NDArray[np.float32], iterations: int) -> list[NDArray[np.float32]]:
        return [p.numpy() for p in pictures(network, torch.from_numpy(batch), iterations)]

    return compute
