"""Engines made of numpy, and a bundle of one real convolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.manifest import ModelManifest, TensorSpec
from nafnet_deploy.runtime.restorer import Restorer

Shape = tuple[int | str, ...]
FREE: Shape = ("batch", 3, "height", "width")


class NumpyEngine:
    """Applies a function to [B, 3, H, W] and remembers the shapes it saw. Satisfies the `Engine` protocol."""

    name = "numpy"

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], shape: Shape = FREE, dtype: str = "float32"):
        self.function = function
        self.inputs = (TensorSpec("image", dtype, shape),)
        self.outputs = (TensorSpec("picture", dtype, shape),)
        self.seen: list[tuple[int, ...]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        batch = feeds["image"]
        assert batch.flags.c_contiguous
        assert batch.dtype == self.inputs[0].dtype
        assert all(want == got for want, got in zip(self.inputs[0].shape, batch.shape, strict=True) if want == int(got))
        self.seen.append(batch.shape)
        return {"picture": self.function(batch)}

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@pytest.fixture
def numpy_engine() -> type[NumpyEngine]:
    return NumpyEngine


@pytest.fixture(scope="session")
def manifest() -> Callable[..., ModelManifest]:
    """`manifest(**changes)`: a contract of a network that needs multiples of 8."""
    spec = TensorSpec("image", "float32", FREE)
    plain = ModelManifest(
        name="tiny",
        task="",
        model=ModelConfig(),
        iterations=1,
        default_iterations=1,
        iteration_values={},
        inputs=(spec,),
        outputs=(spec,),
        size_multiple=8,
        scale=1,
        padding="reflect",
        tile_overlap=8,
        activation_bytes_per_pixel=100.0,
        color="RGB",
        value_range=(0.0, 1.0),
        precision="fp32",
        opset=18,
        versions={},
        provenance={},
        sha256={},
        parity={},
    )

    def make(**changes: Any) -> ModelManifest:
        return dataclasses.replace(plain, **changes)

    return make


@pytest.fixture
def blur_engine() -> OnnxRuntimeEngine:
    """A 3x3 mean over each channel, in ONNX Runtime."""
    kernel = np.full((3, 1, 3, 3), 1 / 9, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel"], ["picture"], pads=[1] * 4, group=3)],
        "blur",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, FREE)],
        [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, FREE)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return OnnxRuntimeEngine(model.SerializeToString(), threads=1)


@pytest.fixture
def same(manifest: Callable[..., ModelManifest]) -> Restorer:
    """Changes nothing."""
    return Restorer(NumpyEngine(lambda batch: batch), manifest())
