"""Runs a graph in the arithmetic that it declares, on any machine: ONNX's reference evaluator, made faithful in half.

ONNX Runtime's CPU kernels compute a float16 graph in float32 and drop the casts between, so they show what rounding
the weights costs and nothing else. Here every float16 operator rounds its result to float16, as a GPU does:

- Conv and MatMul multiply float16 values, sum in float32 and round once, which is what tensor cores do;
- a mean over the picture in float16 rounds the *sum* to float16 before it divides, so that a sum beyond 65504 is
  infinite, as in a kernel that accumulates in half. Exported graphs take their means in float32 and never meet this;
- the other operators are NumPy's, which rounds each float16 result.

Slow (seconds for a small picture): for proofs, not for work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.engines.base import Closing, Engine, Tensors
from nafnet_deploy.engines.cut import check_iterations, cut_iterations
from nafnet_deploy.engines.parts import ArrayParts
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle, TensorSpec

Array = NDArray[Any]


class Conv(OpRun):
    """2-D convolution, dense or depthwise: products and sums in float32, one rounding to the input's type."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        depthwise = group == x.shape[1] == weight.shape[0]
        if x.ndim != 4 or not (group == 1 or depthwise) or auto_pad != "NOTSET" or set(dilations or (1,)) != {1}:
            raise EngineError(f"the oracle has no convolution of {group} groups, padding {auto_pad}, {dilations}.")
        top, left, bottom, right = pads or (0, 0, 0, 0)
        step_y, step_x = strides or (1, 1)
        padded = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (top, bottom), (left, right)))
        kernel = weight.astype(np.float32)
        views = sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))[:, :, ::step_y, ::step_x]
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is an answer here, and inf - inf follows it
            if depthwise:
                result = np.einsum("bchwyx,cyx->bchw", views, kernel[:, 0])
            else:
                batch, _, height, width = views.shape[:4]
                columns = views.transpose(0, 1, 4, 5, 2, 3).reshape(batch, -1, height * width)
                result = (kernel.reshape(len(kernel), -1) @ columns).reshape(batch, -1, height, width)
            if bias is not None:
                result = result + bias.astype(np.float32).reshape(1, -1, 1, 1)
            return (result.astype(x.dtype),)


class MatMul(OpRun):
    """Product of (stacks of) matrices: products and sums in float32, one rounding to the input's type."""

    op_domain = ""

    def _run(self, a: Array, b: Array) -> tuple[Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            return (np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype),)


class GlobalAveragePool(OpRun):
    """Mean over height and width; in float16 the sum is rounded before the division."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            total = x.sum(axis=(2, 3), keepdims=True, dtype=np.float32).astype(x.dtype)
            return ((total / math.prod(x.shape[2:])).astype(x.dtype),)


class OracleEngine(Closing):
    """An ONNX graph in its own arithmetic. Satisfies the `Engine` protocol.

    Args:
        model: the graph; operators that ONNX's reference evaluator knows.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator: ReferenceEvaluator | None = ReferenceEvaluator(
            model, new_ops=[Conv, MatMul, GlobalAveragePool]
        )
        self.name = "onnx reference evaluator"
        """Engine and device."""
        self.inputs = tuple(_spec(value) for value in model.graph.input)
        """What `run` must be given."""
        self.outputs = tuple(_spec(value) for value in model.graph.output)
        """What `run` returns."""

    @classmethod
    def open(cls, bundle: Bundle, iterations: int | None = None) -> Engine:
        """Loads a bundle's graph, cut to fewer iterations where that is asked, or the parts of a split bundle.

        Raises:
            ConfigError: iterations below 1.
            EngineError: more iterations than the graph has, or a graph that cannot be read.
        """
        manifest = bundle.manifest
        n = manifest.iterations if iterations is None else iterations
        check_iterations(manifest, n)
        if manifest.parts:
            parts = ArrayParts(manifest, {name: cls(_load(bundle.part(name))) for name in manifest.parts})
            return AnytimeEngine(parts, manifest, StopRule(n))
        model = _load(bundle.graph)
        return cls(model if n == manifest.iterations else cut_iterations(model, manifest, n))

    def run(self, feeds: Tensors) -> dict[str, Array]:
        """One forward pass; see `Engine.run`.

        Raises:
            EngineError: the engine is closed, or an operator failed.
        """
        if self._evaluator is None:
            raise EngineError("the engine is closed.", "Open it again.")
        names = [spec.name for spec in self.outputs]
        try:
            with np.errstate(all="ignore"):
                return dict(zip(names, self._evaluator.run(names, dict(feeds)), strict=True))
        except (ValueError, TypeError, RuntimeError) as error:  # what NumPy and the evaluator raise on misfits
            raise EngineError(f"the oracle failed: {str(error).splitlines()[0]}.", "Give another shape.") from error

    def close(self) -> None:
        """Lets go of the graph; calling it twice is harmless."""
        self._evaluator = None


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's error class depends on its implementation
        raise EngineError(f"{path} is not a readable ONNX file.", "Export the bundle again.") from error


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(value.name, dtype, tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))
