"""Types and shapes of the values inside an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import onnx
import onnx_ir as ir
from onnxscript import optimizer

FOLDED = 2**24
"""Most values of a constant that is worked out while a graph is measured."""
LARGE = 1024
"""Values of a weight above which it says nothing about the sizes of others."""


def inferred(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.GraphProto:
    """The graph with `sizes` in place of its free dimensions and the type and shape of every value.

    Its large weights are inputs behind the graph's own, without their values: these tell nothing and would be copied
    several times.
    """
    graph = model.graph
    small = [w for w in graph.initializer if math.prod(w.dims) <= LARGE]
    large = [
        onnx.helper.make_tensor_value_info(w.name, w.data_type, w.dims)
        for w in graph.initializer
        if math.prod(w.dims) > LARGE
    ]
    # The names of inner sizes stay behind: the inference takes them for sizes that it need not work out.
    copy = onnx.helper.make_graph(graph.node, graph.name, [*graph.input, *large], graph.output, small)
    fixed = onnx.helper.make_model(copy, opset_imports=model.opset_import, ir_version=model.ir_version)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
            elif dim.dim_param:  # of an output: it is worked out
                dim.Clear()
    # Shapes that are computed in the graph (the matrices of a Fourier transform) are constants now; ONNX's own
    # inference does not follow them.
    folded = ir.from_proto(fixed)
    optimizer.fold_constants(folded, input_size_limit=FOLDED, output_size_limit=FOLDED)
    return onnx.shape_inference.infer_shapes(ir.to_proto(folded), data_prop=True).graph


def name_sizes(model: onnx.ModelProto, side: int) -> None:
    """Writes type and shape of every value into the graph, in place; sizes that follow from a free one as `height/4`.

    Without them ONNX Runtime does not know that two maps of free size are of one size, and multiplies and adds them
    outside its blocked layout. A size is named after the free one that it grows with in proportion, found by making
    each of them larger by a factor of its own; one that grows otherwise (W/2 + 1 of a Fourier transform) has no name.

    Args:
        model: a graph whose first input is [B, C, H, W].
        side: height and width that it takes (pixels).
    """
    shape = [(d.dim_param, d.dim_value) for d in model.graph.input[0].type.tensor_type.shape.dim]
    small = {name: size for (name, _), size in zip(shape, (2, 0, side, side), strict=True) if name}
    factors = dict(zip(small, (2, 3, 5), strict=False))
    shapes = [_shapes(inferred(model, sizes)) for sizes in (small, {n: factors[n] * small[n] for n in small})]
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    del model.graph.value_info[:]
    for name in (name for node in model.graph.node for name in node.output):
        if name in ends or any(name not in found for found in shapes):
            continue
        (kind, before), (_, after) = (found[name] for found in shapes)
        dims: list[int | str | None] = list(before)
        for axis, (size, larger) in enumerate(zip(before, after, strict=True)):
            if size != larger:
                word = next((n for n in small if size * factors[n] == larger), None)
                dims[axis] = None if word is None else _scaled(word, Fraction(size, small[word]))
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, dims))


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, list[int]]]:
    """Element type and shape of the values for which both are known."""
    found = {}
    for value in graph.value_info:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            found[value.name] = tensor.elem_type, [dim.dim_value for dim in tensor.shape.dim]
    return found


def _scaled(name: str, ratio: Fraction) -> str:
    up = f"*{ratio.numerator}" if ratio.numerator != 1 else ""
    down = f"/{ratio.denominator}" if ratio.denominator != 1 else ""
    return name + up + down
