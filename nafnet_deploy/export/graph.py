"""Work on the ONNX graph itself: clean it, name it, measure it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from nafnet_deploy.errors import ExportError
from nafnet_deploy.export.sizes import inferred
from nafnet_deploy.manifest import TensorSpec


def finish(model: onnx.ModelProto, name: str, output_shape: Sequence[int | str], keep: Iterable[str]) -> None:
    """Turns the exporter's graph into the product, in place.

    Takes out the outputs not in `keep`, the exporter's stack traces (they make up most of a small file) and the
    intermediate shapes (`sizes.name_sizes` writes others), then names the output's dimensions.

    Args:
        model: the graph.
        name: name of the graph.
        output_shape: [B, C, H, W] of each kept output; words are free dimensions.
        keep: names of the outputs that stay.
    """
    graph = model.graph
    graph.name = name
    wanted = set(keep)
    outputs = [o for o in graph.output if o.name in wanted]
    del graph.output[:]
    graph.output.extend(outputs)
    _strip(graph)
    model.doc_string = ""
    del model.metadata_props[:]
    del graph.value_info[:]
    for output in graph.output:
        for dim, value in zip(output.type.tensor_type.shape.dim, output_shape, strict=True):
            dim.Clear()
            if isinstance(value, str):
                dim.dim_param = value
            else:
                dim.dim_value = value


def _strip(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _strip(attribute.g)


def pool_globally(model: onnx.ModelProto) -> None:
    """Replaces every mean over height and width by GlobalAveragePool, in place.

    The exporter writes it as ReduceMean; only the pooling operator stays inside ONNX Runtime's blocked layout.
    """
    axes = {w.name: sorted(onnx.numpy_helper.to_array(w).ravel()) for w in model.graph.initializer if len(w.dims) == 1}
    for i, node in enumerate(model.graph.node):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        over = axes.get(node.input[1]) if len(node.input) > 1 else sorted(attributes.get("axes", []))
        if node.op_type == "ReduceMean" and over in ([2, 3], [-2, -1]) and attributes.get("keepdims", 1):
            pool = onnx.helper.make_node("GlobalAveragePool", node.input[:1], node.output, name=node.name)
            model.graph.node[i].CopyFrom(pool)
    used = {name for node in model.graph.node for name in node.input}
    weights = [w for w in model.graph.initializer if w.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)


def check(model: onnx.ModelProto) -> None:
    """Runs the full ONNX checker, shape inference included.

    Raises:
        ExportError: the graph breaks the standard.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}", "Try another --opset."
        ) from error


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Name, element type and shape of graph inputs or outputs."""
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
        specs.append(TensorSpec(value.name, dtype, shape))
    return tuple(specs)


def activation_bytes_per_pixel(model: onnx.ModelProto, sizes: Mapping[str, int]) -> float:
    """Peak of the activations alive at once, over the pixels of the input.

    A value lives from the node that makes it to the last node that reads it, in graph order. Engines do better
    (they work in place and fuse) or worse (they copy into other layouts), so this is a planning figure.

    Args:
        model: a graph whose first input is [B, C, H, W].
        sizes: values for the free dimensions, by name.

    Returns:
        Bytes per pixel.
    """
    whole = inferred(model, sizes)
    weights = {w.name for w in model.graph.initializer}
    size = {
        v.name: _bytes(v)
        for v in (*whole.value_info, *whole.input, *whole.output)
        if v.name not in weights and v.type.tensor_type.HasField("shape")
    }
    last_use = {name: i for i, node in enumerate(whole.node) for name in node.input}
    end = len(whole.node)
    last_use.update({o.name: end for o in whole.output})
    alive = {i.name: size[i.name] for i in model.graph.input}
    peak = sum(alive.values())
    for i, node in enumerate(whole.node):
        alive.update({name: size[name] for name in node.output})
        peak = max(peak, sum(alive.values()))
        for name in [n for n in alive if last_use.get(n, -1) <= i]:
            del alive[name]
    dims = [d.dim_value for d in whole.input[0].type.tensor_type.shape.dim]
    return float(peak / (dims[0] * dims[2] * dims[3]))


def half_share(model: onnx.ModelProto, sizes: Mapping[str, int]) -> float:
    """Share of the convolutions' multiply-adds that run in float16, 0 to 1; the norms' channel means count too.

    Args:
        model: a graph.
        sizes: values for the free dimensions, by name.
    """
    whole = inferred(model, sizes)
    weights = {w.name: w for w in model.graph.initializer}
    values = {v.name: v for v in (*whole.value_info, *whole.output)}
    total = half = 0
    for node in whole.node:
        if node.op_type == "Conv":
            weight, result = weights[node.input[1]], values[node.output[0]].type.tensor_type
            work = math.prod(d.dim_value for d in result.shape.dim) * math.prod(weight.dims[1:])
            total += work
            half += work * (weight.data_type == onnx.TensorProto.FLOAT16)
    return half / total if total else 0.0


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every float16 weight, constant, cast, input and output made float32: the same edges, wide."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.value_info[:]
    for weight in wide.graph.initializer:
        _widen(weight)
    for value in (*wide.graph.input, *wide.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    return wide


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT16:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _bytes(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    itemsize = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).itemsize
    return int(itemsize * math.prod(d.dim_value for d in tensor.shape.dim))
