"""Measuring and rewriting ONNX graphs."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from nafnet_deploy.export.graph import activation_bytes_per_pixel, check, finish, pool_globally


def chain() -> onnx.ModelProto:
    """input [B, 3, H, W] -> two copies -> their sum -> its mean over the picture."""
    shape = ["batch", 3, "height", "width"]
    nodes = [
        helper.make_node("Relu", ["input"], ["a"]),
        helper.make_node("Sigmoid", ["input"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("ReduceMean", ["sum", "axes"], ["output"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3, 1, 1])],
        [numpy_helper.from_array(np.array([-1, -2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def test_peak_is_the_largest_set_of_values_alive_at_once() -> None:
    # At the Add, its two inputs and its output are alive: 3 maps x 3 channels x 4 bytes; the input is gone.
    assert activation_bytes_per_pixel(chain(), {"batch": 2, "height": 16, "width": 8}) == 3 * 3 * 4


def test_mean_over_pixels_becomes_a_pool_that_computes_the_same() -> None:
    before, after = chain(), chain()
    pool_globally(after)
    check(after)
    assert [n.op_type for n in after.graph.node] == ["Relu", "Sigmoid", "Add", "GlobalAveragePool"]
    assert not after.graph.initializer
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)
    results = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
        for m in (before, after)
    ]
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_finish_keeps_the_wanted_outputs_and_drops_metadata() -> None:
    model = chain()
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    model.graph.node[0].doc_string = "stack trace"
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "k", "v"
    finish(model, "name", ["batch", 3, 1, 1], ["output"])
    assert [o.name for o in model.graph.output] == ["output"]
    assert not model.graph.node[0].doc_string
    assert not model.graph.node[0].metadata_props
    assert model.graph.name == "name"
