"""Graphs for the builder's tests, and bundles around them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.manifest import Bundle, ModelManifest, TensorSpec, bundle_file, sha256_of
from tests.bundles import manifest_of

SHAPE = (1, 3, 32, 32)


def graph_of(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: tuple[int | str, ...] = SHAPE
) -> onnx.ModelProto:
    """FP32 `input` and `output` of one shape around these nodes."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("input", "output")]
    tensors = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def conv_graph(shape: tuple[int | str, ...] = SHAPE) -> onnx.ModelProto:
    """One FP32 convolution."""
    nodes = [helper.make_node("Conv", ["input", "w"], ["output"], pads=[1] * 4)]
    return graph_of(nodes, {"w": np.full((3, 3, 3, 3), 0.1, np.float32)}, shape)


def half_graph(islands: bool) -> onnx.ModelProto:
    """conv, LayerNorm over channels, conv with half weights; the statistics in FP32 islands, or in half too."""
    kind = TensorProto.FLOAT if islands else TensorProto.FLOAT16
    number = np.float32 if islands else np.float16
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node("Cast", ["a"], ["a2"], to=kind),
        helper.make_node("ReduceMean", ["a2", "axis"], ["mean"]),
        helper.make_node("Sub", ["a2", "mean"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["q"]),
        helper.make_node("ReduceMean", ["q", "axis"], ["variance"]),
        helper.make_node("Add", ["variance", "eps"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["root"]),
        helper.make_node("Div", ["d", "root"], ["n"]),
        helper.make_node("Mul", ["n", "scale"], ["s"]),
        helper.make_node("Add", ["s", "shift"], ["t"]),
        helper.make_node("Cast", ["t"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "w2"], ["y"], pads=[1] * 4),
        helper.make_node("Cast", ["y"], ["output"], to=TensorProto.FLOAT),
    ]
    weights = {
        "w1": np.full((8, 3, 3, 3), 0.1, np.float16),
        "w2": np.full((3, 8, 3, 3), 0.1, np.float16),
        "axis": np.array([1]),
        "two": np.array(2, number),
        "eps": np.array(1e-3, number),
        "scale": np.ones((8, 1, 1), number),
        "shift": np.zeros((8, 1, 1), number),
    }
    return graph_of(nodes, weights)


def bundle_of(model: onnx.ModelProto | bytes, path: Path, **changes: object) -> Bundle:
    """The model (or any bytes) on disk as `path`, with a manifest that vouches for it; `changes` overrule fields."""
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    shape: tuple[int | str, ...] = SHAPE
    if isinstance(model, onnx.ModelProto):
        shape = tuple(d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    manifest = dataclasses.replace(
        manifest_of(path),
        inputs=(TensorSpec("input", "float32", shape),),
        outputs=(TensorSpec("output", "float32", shape),),
        sha256={".onnx": sha256_of(path)},
        **changes,  # type: ignore[arg-type]
    )
    bundle_file(path, ".json").write_text(manifest.to_json())
    return Bundle(path, manifest)


def manifest(shape: tuple[int | str, ...] = ("batch", 3, "height", "width"), **changes: object) -> ModelManifest:
    """A manifest without a graph, of a network with two levels."""
    spec = TensorSpec("input", "float32", shape)
    values: dict[str, object] = {
        "name": "light", "task": "", "model": ModelConfig("nafnet-rr", positions=("middle",), iterations=5),
        "iterations": 5, "default_iterations": 3, "iteration_values": {}, "inputs": (spec,),
        "outputs": (dataclasses.replace(spec, name="output"),), "size_multiple": 4, "scale": 1, "padding": "reflect",
        "tile_overlap": 32, "activation_bytes_per_pixel": 524.0, "color": "RGB", "value_range": (0.0, 1.0),
        "precision": "fp32", "opset": 18, "versions": {}, "provenance": {}, "sha256": {".onnx": "0" * 64}, "parity": {},
    }  # fmt: skip
    return ModelManifest(**{**values, **changes})  # type: ignore[arg-type]
