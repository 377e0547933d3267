"""Small bundles for tests that need a manifest but no network."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.manifest import ModelManifest, TensorSpec, bundle_file, sha256_of

SHAPE = ("batch", 3, "height", "width")


def write_identity_graph(path: Path, shape: tuple[str | int, ...] = SHAPE) -> None:
    """An ONNX graph that adds 0 to its input."""
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["input", "zero"], ["output"])],
        "identity",
        [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, shape)],
        [zero],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], producer_name="tests")
    model.ir_version = 10  # what onnx writes by default is newer than what older ONNX Runtimes read
    onnx.save(model, path)


def manifest_of(graph: Path, shape: tuple[str | int, ...] = SHAPE) -> ModelManifest:
    """A manifest that vouches for `graph`."""
    return ModelManifest(
        name=graph.stem,
        task="denoising",
        model=ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,)),
        iterations=1,
        default_iterations=1,
        iteration_values={"middle": ("a",)},
        inputs=(TensorSpec("input", "float32", shape),),
        outputs=(TensorSpec("output", "float32", shape),),
        size_multiple=2,
        scale=1,
        padding="zeros",
        tile_overlap=16,
        activation_bytes_per_pixel=100.0,
        color="RGB",
        value_range=(0.0, 1.0),
        precision="fp32",
        opset=18,
        versions={"onnx": "1"},
        provenance={"source": "tests"},
        sha256={".onnx": sha256_of(graph)},
        parity={"max": 0.0},
    )


def write_bundle(graph: Path, shape: tuple[str | int, ...] = SHAPE) -> ModelManifest:
    """An identity graph for inputs of a shape, and its manifest, on disk."""
    write_identity_graph(graph, shape)
    manifest = manifest_of(graph, shape)
    bundle_file(graph, ".json").write_text(manifest.to_json())
    return manifest


def write_slow_bundle(graph: Path) -> None:
    """A graph that takes about 20 s for a megapixel, in one call that nothing interrupts, and its manifest, on disk."""
    names = ["input", *(f"sine{i}" for i in range(1999)), "output"]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, SHAPE) for name in ("input", "output")]
    nodes = [onnx.helper.make_node("Sin", [name], [after]) for name, after in itertools.pairwise(names)]
    body = onnx.helper.make_graph(nodes, "slow", ends[:1], ends[1:])
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 18)], producer_name="tests")
    model.ir_version = 10
    onnx.save(model, graph)
    bundle_file(graph, ".json").write_text(manifest_of(graph).to_json())


def write_enlarging_bundle(graph: Path, scale: int, views: int = 1) -> None:
    """A graph that repeats every pixel `scale` times in both directions, and its manifest, on disk."""
    shape = ("batch", 3 * views, "height", "width")
    scales = onnx.numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")
    resize = onnx.helper.make_node(
        *("Resize", ["input", "", "scales"], ["output"]),
        **{"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    )
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
        for name, dims in (("input", shape), ("output", (*shape[:2], "taller", "wider")))
    ]
    body = onnx.helper.make_graph([resize], "enlarging", ends[:1], ends[1:], [scales])
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 18)], producer_name="tests")
    model.ir_version = 10
    onnx.save(model, graph)
    config = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,), scale=scale)
    if views == 2:
        config = ModelConfig(architecture="nafssr", width=4, encoder_blocks=(), decoder_blocks=(), scale=scale)
    manifest = dataclasses.replace(
        manifest_of(graph),
        model=config,
        scale=scale,
        inputs=(TensorSpec("input", "float32", shape),),
        outputs=(TensorSpec("output", "float32", (*shape[:2], "taller", "wider")),),
    )
    bundle_file(graph, ".json").write_text(manifest.to_json())
