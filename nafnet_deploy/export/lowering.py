"""A traced network as the ONNX converter takes it, without PyTorch's decomposition, which is half of an export's time.

The converter has every operator decomposed for which it has no function. That traces the whole network anew, and of
these networks it changes a handful of operators alone, which are renamed here. Where an operator is left that is not
known to be taken, PyTorch decomposes as always. Either way the export is proved against the network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

_ATEN = torch.ops.aten
_TAKEN = frozenset(
    getattr(getattr(_ATEN, name), overload)
    for name, overload in (
        *(("sym_size", "int"), ("_assert_scalar", "default"), ("_assert_tensor_metadata", "default")),
        *((name, "Tensor") for name in ("add", "sub", "mul", "div", "remainder", "slice", "bitwise_or")),
        *((name, "default") for name in ("conv2d", "pixel_shuffle", "cat", "unsqueeze", "matmul", "zeros_like")),
        *((name, "default") for name in ("sigmoid", "relu", "silu", "gelu", "rsqrt", "sqrt", "log", "cos", "sin")),
        *((name, "default") for name in ("neg", "arange", "full", "clone", "_to_copy")),
        *((name, "default") for name in ("chunk", "permute", "reshape", "expand_as", "amax", "clamp_min", "pad")),
        *((name, "default") for name in ("pixel_unshuffle", "linalg_vector_norm")),
        *(("mean", "dim"), ("eq", "Scalar"), ("where", "Scalar"), ("softmax", "int"), ("transpose", "int")),
    )
)
"""Operators that the converter takes as they are."""


@contextlib.contextmanager
def undecomposed() -> Iterator[None]:
    """Lets `torch.onnx.export` convert what it traced, where that is known to work."""
    decompose: Callable[..., ExportedProgram] = ExportedProgram.run_decompositions

    def lower(program: ExportedProgram, *args: Any, **kwargs: Any) -> ExportedProgram:
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        renamed = [(node, *_renamed(node)) for node in calls]
        if not all(target in _TAKEN or not isinstance(target, torch._ops.OpOverload) for _, target, _, _ in renamed):
            return decompose(program, *args, **kwargs)
        for node, target, arguments, options in renamed:
            node.target, node.args, node.kwargs = target, arguments, options
        program.graph_module.recompile()
        return program

    ExportedProgram.run_decompositions = lower  # type: ignore[method-assign]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = decompose  # type: ignore[method-assign]


def _renamed(node: Node) -> tuple[Any, Any, Any]:
    """The operator, arguments and options that do the same and that the converter has a function for."""
    if node.target is _ATEN.to.dtype and len(node.args) == 2:
        x, dtype = node.args
        if isinstance(x, Node) and x.meta["val"].dtype == dtype:
            return _ATEN.clone.default, (x,), {}
        return _ATEN._to_copy.default, (x,), {"dtype": dtype}
    if node.target is _ATEN.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:  # type: ignore[arg-type]
        return _ATEN.mean.dim, (node.args[0], [-1, -2], True), {}
    if node.target is _ATEN.__or__.Tensor:
        return _ATEN.bitwise_or.Tensor, node.args, node.kwargs
    return node.target, node.args, node.kwargs
