"""The oracle computes what the graph declares: float16 where it says float16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.errors import EngineError
from nafnet_deploy.parity.oracle import OracleEngine

DTYPES = {np.float16: TensorProto.FLOAT16, np.float32: TensorProto.FLOAT}


def one_node(node: onnx.NodeProto, dtype: type, *weights: NDArray[np.floating]) -> OracleEngine:
    shape = ("b", "c", "h", "w")
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", DTYPES[dtype], shape)],
        [helper.make_tensor_value_info("y", DTYPES[dtype], shape)],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return OracleEngine(model)


def noise(*shape: int, dtype: type = np.float32, scale: float = 1.0) -> NDArray[np.floating]:
    return (np.random.default_rng(sum(shape)).normal(size=shape) * scale).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("weight", "attributes"),
    [
        ((6, 4, 1, 1), {}),
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((8, 4, 2, 2), {"strides": [2, 2]}),
        ((4, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 4}),
    ],
)
def test_convolution_is_pytorchs_in_float32_rounded_once(
    dtype: type, weight: tuple[int, ...], attributes: dict[str, object]
) -> None:
    x, w, b = noise(2, 4, 6, 8, dtype=dtype), noise(*weight, dtype=dtype), noise(weight[0], dtype=dtype)
    engine = one_node(helper.make_node("Conv", ["x", "w0", "w1"], ["y"], **attributes), dtype, w, b)
    padding, stride = (1 if "pads" in attributes else 0), (2 if "strides" in attributes else 1)
    exact = F.conv2d(
        *(torch.from_numpy(a.astype(np.float64)) for a in (x, w, b)),
        stride=stride,
        padding=padding,
        groups=int(str(attributes.get("group", 1))),
    ).numpy()
    result = restore_batch(engine, x)
    assert result.dtype == dtype
    if dtype == np.float32:
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-5)
    else:  # half a unit in the last place of float16, and the odd tie that float32 sums decide otherwise
        assert np.mean(result == exact.astype(np.float16)) > 0.995
        np.testing.assert_allclose(result, exact, rtol=2**-10, atol=1e-3)


def test_half_overflows_where_float32_does_not() -> None:
    big = np.full((1, 1, 2, 2), 300.0)
    for dtype, finite in ((np.float16, False), (np.float32, True)):
        square = one_node(helper.make_node("Mul", ["x", "x"], ["y"]), dtype)
        assert np.isfinite(restore_batch(square, big.astype(dtype))).all() == finite


def test_half_mean_rounds_its_sum() -> None:
    pool = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    x = np.full((1, 2, 128, 128), 6.0)
    assert np.isinf(restore_batch(one_node(pool, np.float16), x.astype(np.float16))).all()
    assert (restore_batch(one_node(pool, np.float32), x.astype(np.float32)) == 6).all()
    small = x[..., :8, :8].astype(np.float16)
    assert (restore_batch(one_node(pool, np.float16), small) == 6).all()


def test_convolution_it_does_not_know_is_refused() -> None:
    node = helper.make_node("Conv", ["x", "w0"], ["y"], group=2)
    with pytest.raises(EngineError, match="2 groups"):
        restore_batch(one_node(node, np.float32, noise(4, 2, 1, 1)), noise(1, 4, 3, 3))


def test_shape_that_does_not_fit_and_closed_engine_are_engine_errors() -> None:
    engine = one_node(helper.make_node("Conv", ["x", "w0"], ["y"]), np.float32, noise(4, 4, 1, 1))
    with pytest.raises(EngineError, match="oracle failed"):
        restore_batch(engine, noise(1, 3, 3, 3))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        restore_batch(engine, noise(1, 4, 3, 3))
