"""Multiply-adds of a graph, the rate of a matrix product, and the cost of an iteration."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from nafnet_deploy.benchmarks.cost import CostModel, fit_cost
from nafnet_deploy.benchmarks.floor import Gemm, count_macs, fastest_product, onnxruntime_product


def graph_of(*weights: np.ndarray) -> bytes:
    nodes, names = [], ["x"]
    for i, weight in enumerate(weights):
        pads = [weight.shape[2] // 2] * 4
        nodes.append(onnx.helper.make_node("Conv", [names[-1], f"w{i}"], [f"y{i}"], pads=pads))
        names.append(f"y{i}")
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "convs",
        [make("x", onnx.TensorProto.FLOAT, ("b", 3, "h", "w"))],
        [make(names[-1], onnx.TensorProto.FLOAT, ("b", weights[-1].shape[0], "h", "w"))],
        [onnx.numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)],
    )
    return onnx.helper.make_model(graph).SerializeToString()  # type: ignore[no-any-return]


def test_multiply_adds_of_convolutions() -> None:
    rng = np.random.default_rng(0)
    graph = graph_of(rng.random((8, 3, 3, 3)), rng.random((5, 8, 1, 1)))
    assert count_macs(graph, (2, 3, 16, 12)) == 2 * 16 * 12 * (8 * 27 + 5 * 8)


def test_a_channel_mean_written_as_a_convolution_is_no_work_of_the_network() -> None:
    rng = np.random.default_rng(0)
    graph = graph_of(rng.random((8, 3, 1, 1)), np.full((1, 8, 1, 1), 1 / 8))
    assert count_macs(graph, (1, 3, 4, 4)) == 16 * 24


def test_the_fastest_library_sets_the_floor() -> None:
    turns: list[str] = []
    gemm = fastest_product({"numpy": np.dot, "other": lambda a, b: turns.append("other")}, side=64, repeats=2)
    assert gemm.backend == "other"  # it does nothing, so nobody is faster
    assert len(turns) == 3
    gemm.run()
    assert len(turns) == 4


def gemm_of(side: int) -> Gemm:
    return Gemm("x", side, 2.0, lambda: None)


def test_the_rate_is_the_median_of_all_turns() -> None:
    rate = gemm_of(1000).rate({1: [10.0, 50.0], 2: [20.0]})
    assert rate.gflops == pytest.approx(2e9 / 0.020 / 1e9)
    assert rate.rounds_ms == {"1": (10.0, 50.0), "2": (20.0,)}


def test_the_share_of_the_floor_of_known_work() -> None:
    rate = gemm_of(1000).rate({3: [10.0] * 5})  # 1e9 multiply-adds in 10 ms
    assert rate.share(3, 5e9, [100.0] * 5) == pytest.approx(0.5)


def test_a_machine_that_slows_down_moves_the_floor_with_the_engines() -> None:
    quiet, held_up = [10.0, 10.0, 10.0], [30.0, 30.0, 30.0, 30.0]
    rate = gemm_of(1000).rate({1: quiet + held_up})
    assert rate.share(1, 5e9, [100.0] * 3 + [300.0] * 4) == pytest.approx(0.5)


def test_onnxruntimes_product_is_a_product() -> None:
    a = np.arange(16, dtype=np.float32).reshape(4, 4)
    (found,) = onnxruntime_product(1)(a, a)  # type: ignore[misc]
    assert np.array_equal(found, a @ a)


def test_the_line_through_the_times() -> None:
    model = fit_cost({1: [22.0], 2: [25.0], 3: [28.0]})
    assert model is not None
    assert (model.a_ms, model.b_ms) == pytest.approx((19.0, 3.0))
    assert model.further == pytest.approx(3 / 22)
    assert "the largest N under 16.7 ms: none" in model.words()
    assert fit_cost({1: [22.0]}) is None


def test_the_largest_n() -> None:
    assert CostModel(10.0, 2.0).largest_n() == 3
    assert CostModel(30.0, 2.0).largest_n() == 0
    assert CostModel(10.0, 0.0).largest_n() is None
