"""Faults planted into exported graphs, each the smallest of its kind, and bundles that carry them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nafnet_deploy.manifest import Bundle, ModelManifest, sha256_of

Fault = Callable[[onnx.ModelProto, ModelManifest], None]


def perturbed_weight(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """One weight of the first convolution is 0.2 too large."""
    _change_first_weight(model, 0.2)


def dropped_iteration(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """The last reasoning iteration does nothing: it hands on what the one before left."""
    for *_, before, last in manifest.iteration_values.values():
        place = next(i for i, node in enumerate(model.graph.node) if last in node.output)
        model.graph.node[place].CopyFrom(helper.make_node("Identity", [before], [last]))


def swapped_channels(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """The picture comes out as BGR."""
    order = _constant(model, "order", np.array([2, 1, 0]))
    _append(model, lambda given, result: [helper.make_node("Gather", [given, order], [result], axis=1)])


def leaking_batch(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """Every row of a batch gets a twentieth of the first row."""
    begin, end, axis = (_constant(model, name, np.array([i])) for name, i in (("begin", 0), ("end", 1), ("axis", 0)))
    share = _constant(model, "share", np.array(0.05, np.float32))
    _append(
        model,
        lambda given, result: [
            helper.make_node("Slice", [given, begin, end, axis], ["fault.first"]),
            helper.make_node("Sub", ["fault.first", given], ["fault.difference"]),
            helper.make_node("Mul", ["fault.difference", share], ["fault.leak"]),
            helper.make_node("Add", [given, "fault.leak"], [result]),
        ],
    )


def not_a_number(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """A weight is NaN."""
    _change_first_weight(model, np.nan)


def planted(bundle: Bundle, fault: Fault, path: Path) -> Bundle:
    """A copy of a bundle whose graph has the fault and whose manifest and golden file are those of the sound one."""
    model = onnx.load(bundle.graph)
    fault(model, bundle.manifest)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    golden = path.with_name(path.stem + ".golden.npz")
    golden.write_bytes(bundle.golden.read_bytes())
    hashes = {**bundle.manifest.sha256, ".onnx": sha256_of(path)}
    manifest = dataclasses.replace(bundle.manifest, sha256=hashes)
    path.with_suffix(".json").write_text(manifest.to_json())
    return Bundle(path, manifest)


def _change_first_weight(model: onnx.ModelProto, amount: float) -> None:
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    stored = next(w for w in model.graph.initializer if w.name == name)
    weight = numpy_helper.to_array(stored).copy()
    weight[0, 0, 1, 1] += weight.dtype.type(amount)
    stored.CopyFrom(numpy_helper.from_array(weight, stored.name))


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, f"fault.{name}"))
    return f"fault.{name}"


def _append(model: onnx.ModelProto, nodes: Callable[[str, str], list[onnx.NodeProto]]) -> None:
    """Puts nodes between the graph's last node and its output, which keeps its name."""
    result = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["fault.given" if name == result else name for name in node.output]
        node.input[:] = ["fault.given" if name == result else name for name in node.input]
    model.graph.node.extend(nodes("fault.given", result))
