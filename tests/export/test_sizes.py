"""The sizes that a graph gives its values: right at every size, and enough for ONNX Runtime's blocked layout."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from nafnet_deploy.engines.cut import graph_of_iterations
from nafnet_deploy.export.graph import activation_bytes_per_pixel
from nafnet_deploy.manifest import bundle_file, open_bundle
from tests.exports import Exported
from tests.variants import RESTORMER, STEREO, variant

KINDS = {
    "reasoning": variant("swiglu", True),
    "spectrum": variant("spectrum"),
    "stereo": STEREO,
    "restormer": RESTORMER,
}


def evaluated(word: str, sizes: dict[str, int]) -> int:
    """`height*2/4` at a height."""
    name, _, rest = word.partition("*")
    up, _, down = rest.partition("/") if rest else ("1", "", "")
    if not rest:
        name, _, down = name.partition("/")
    size = sizes[name] * Fraction(int(up), int(down or 1))
    assert size.denominator == 1
    return int(size)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_size_is_that_of_the_value_when_it_runs(name: str, precision: str, exported: Exported) -> None:
    bundle = exported(KINDS[name], precision=precision)
    model = onnx.load(bundle.graph)
    words = {v.name: v.type.tensor_type for v in model.graph.value_info}
    maps = [n for node in model.graph.node if node.op_type == "Conv" for n in node.output]
    if name != "restormer":  # it works sizes out in the graph, where ONNX's inference does not follow
        assert set(maps) <= words.keys() | {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in words)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    multiple, first = bundle.manifest.size_multiple, session.get_inputs()[0]
    for b, h, w in ((1, 1, 3), (2, 5, 2)):
        x = np.zeros((b, bundle.manifest.model.planes, h * multiple, w * multiple), np.float32)
        values = session.run(list(words), {first.name: x.astype(np.float16 if "16" in first.type else np.float32)})
        sizes = {"batch": b, "height": h * multiple, "width": w * multiple}
        for (value, known), array in zip(words.items(), values, strict=True):
            assert onnx.helper.tensor_dtype_to_np_dtype(known.elem_type) == array.dtype, value
            for dim, size in zip(known.shape.dim, array.shape, strict=True):
                said = evaluated(dim.dim_param, sizes) if dim.dim_param else dim.dim_value
                assert said in (size, 0), (value, dim, size)


def test_figures_of_memory_do_not_depend_on_the_names_of_sizes(exported: Exported) -> None:
    """A name that the inference cannot work out, as in a Fourier transform, once counted as no memory at all."""
    bundle = exported(variant("nafft"))
    model = onnx.load(bundle.graph)
    del model.graph.value_info[:]
    figure = activation_bytes_per_pixel(model, {"batch": 1, "height": 128, "width": 128})
    assert bundle.manifest.activation_bytes_per_pixel == figure > 0


def operators(graph: bytes, folder: Path, fixed: dict[str, int]) -> Counter[str]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    for name, size in fixed.items():
        options.add_free_dimension_override_by_name(name, size)
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_free_size_costs_onnx_runtime_no_change_of_layout(tiny: Path, tmp_path: Path, iterations: int) -> None:
    graph = graph_of_iterations(open_bundle(tiny), iterations)
    content = graph if isinstance(graph, bytes) else Path(graph).read_bytes()
    sizes = {"batch": 1, "height": 64, "width": 96}
    free, fixed = operators(content, tmp_path, {}), operators(content, tmp_path, sizes)
    assert free == fixed
    model = onnx.load_from_string(content)
    del model.graph.value_info[:]
    without = operators(model.SerializeToString(), tmp_path, {})
    if free["ReorderInput"]:  # a processor with a blocked layout
        changes = [found["ReorderInput"] + found["ReorderOutput"] for found in (free, without)]
        assert changes[0] < changes[1]


def test_the_parts_of_a_split_bundle_have_sizes_too(tiny_split: Path) -> None:
    bundle = open_bundle(tiny_split)
    for suffix in bundle.graphs:
        part = onnx.load(bundle_file(bundle.graph, suffix)).graph
        known = {v.name for v in (*part.value_info, *part.output)}
        assert {n for node in part.node if node.op_type == "Conv" for n in node.output} <= known
