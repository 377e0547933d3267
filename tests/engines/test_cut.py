"""A graph cut to n iterations is the graph of n iterations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from nafnet_deploy.engines.cut import check_iterations, cut_iterations
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.released import find_bundle

MakeModel = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Bundle]
IMAGE = np.random.default_rng(1).random((2, 3, 9, 7), np.float32)


def result(model: onnx.ModelProto) -> np.ndarray:
    with OnnxRuntimeEngine(model.SerializeToString(), threads=1) as engine:
        return engine.run({"image": IMAGE})[engine.outputs[0].name]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_cut_graph_computes_what_the_shorter_graph_computes(
    make_model: MakeModel, make_bundle: MakeBundle, n: int
) -> None:
    longest = make_model(3)
    cut = cut_iterations(longest, make_bundle(longest).manifest, n)
    onnx.checker.check_model(cut, full_check=True)
    assert np.array_equal(result(cut), result(make_model(n)))
    if n < 3:
        assert np.abs(result(cut) - result(longest)).max() > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_cut_graph_holds_no_more_than_the_shorter_graph(
    make_model: MakeModel, make_bundle: MakeBundle, n: int
) -> None:
    longest, short = make_model(3), make_model(n)
    cut = cut_iterations(longest, make_bundle(longest).manifest, n)
    assert len(cut.graph.node) == len(short.graph.node)
    assert {i.name for i in cut.graph.initializer} == {i.name for i in short.graph.initializer}
    assert {v.name for v in cut.graph.value_info} == {v.name for v in short.graph.value_info}
    assert cut.graph.output[0].name == longest.graph.output[0].name


@pytest.mark.parametrize("n", [1, 2])
def test_an_output_that_is_itself_an_iteration_keeps_its_name(
    make_model: MakeModel, make_bundle: MakeBundle, n: int
) -> None:
    longest = make_model(3, ends_at_value=True)
    cut = cut_iterations(longest, make_bundle(longest).manifest, n)
    onnx.checker.check_model(cut, full_check=True)
    assert cut.graph.output[0].name == "decoder.3"
    assert np.array_equal(result(cut), result(make_model(n, ends_at_value=True)))


def test_cutting_leaves_the_given_model_as_it_was(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    longest = make_model(3)
    before = longest.SerializeToString(deterministic=True)
    cut_iterations(longest, make_bundle(longest).manifest, 1)
    assert longest.SerializeToString(deterministic=True) == before


def test_more_iterations_than_the_graph_has_name_the_export(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    longest = make_model(3)
    with pytest.raises(EngineError, match="has 3") as caught:
        cut_iterations(longest, make_bundle(longest).manifest, 5)
    assert "nafdeploy export CHECKPOINT --iters 5" in caught.value.mend
    with pytest.raises(EngineError) as caught:
        check_iterations(find_bundle("deblur-light").manifest, 9)
    assert "nafdeploy export deblur-light --iters 9" in caught.value.mend


def test_zero_iterations_are_refused(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    longest = make_model(3)
    with pytest.raises(ConfigError, match="0 iterations"):
        cut_iterations(longest, make_bundle(longest).manifest, 0)


def test_a_plain_network_says_that_it_has_nothing_to_iterate(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    plain = make_model(1)
    with pytest.raises(EngineError) as caught:
        cut_iterations(plain, make_bundle(plain, iterations=1, recurrent=False).manifest, 2)
    assert "nothing to iterate" in caught.value.mend


def test_a_manifest_of_another_graph_is_noticed(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    manifest = make_bundle(make_model(3)).manifest
    with pytest.raises(EngineError, match="no value for iteration 2"):
        cut_iterations(make_model(1), manifest, 2)


def with_subgraph(model: onnx.ModelProto, operator: str) -> onnx.ModelProto:
    """The model with its last convolution inside a Loop of one round or an If, which read the last iteration's value
    from the graph around them without an input that says so."""
    conv = model.graph.node.pop()
    boolean, number = onnx.TensorProto.BOOL, onnx.TensorProto.INT64
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    free = helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, ("n", "c", "h", "w"))
    if operator == "If":
        branches = [helper.make_graph([conv], "branch", [], [free]) for _ in range(2)]
        node = helper.make_node(
            "If", ["yes"], ["picture"], name="choice", then_branch=branches[0], else_branch=branches[1]
        )
    else:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "once"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "nothing"))
        inputs = [
            helper.make_tensor_value_info("round", number, ()),
            helper.make_tensor_value_info("going", boolean, ()),
            helper.make_tensor_value_info("before", onnx.TensorProto.FLOAT, None),
        ]
        going = helper.make_tensor_value_info("still", boolean, ())
        body = helper.make_graph(
            [helper.make_node("Identity", ["going"], ["still"]), conv], "body", inputs, [going, free]
        )
        node = helper.make_node("Loop", ["once", "yes", "nothing"], ["picture"], name="rounds", body=body)
    model.graph.node.append(node)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize(("operator", "name"), [("Loop", "rounds"), ("If", "choice")])
@pytest.mark.parametrize("n", [1, 3])
def test_a_graph_with_subgraphs_is_refused_though_it_runs(
    make_model: MakeModel, make_bundle: MakeBundle, operator: str, name: str, n: int
) -> None:
    model = with_subgraph(make_model(3), operator)
    assert np.allclose(result(model), result(make_model(3)), atol=1e-5)
    with pytest.raises(EngineError, match=rf"subgraph in the node '{name}' \({operator}\)") as caught:
        cut_iterations(model, make_bundle(model).manifest, n)
    assert "nafdeploy export" in caught.value.mend
    assert "\n" not in str(caught.value)
