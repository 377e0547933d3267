"""A traced network as the ONNX converter takes it, without four passes that are half of an export's time.

The converter has every operator decomposed for which it has no function. That traces the whole network anew, and of
these networks it changes a handful of operators alone, which are renamed here. Then it runs the network once more to
find where a type must be promoted, which is nowhere where every operator reads one floating type: folded networks cast
where they mean to. Where an operator is left that is not known to be taken, or that mixes types, PyTorch does as
always.

Before each export it gathers all operators that it knows, always the same; one gathering serves a process. Behind it,
every rule that could simplify the graph is compared with every node, though its pattern ends in an operator of one
kind; here it is compared with nodes of that kind alone.

Either way the export is proved against the network.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from onnxscript.rewriter import RewriteRule
from torch.export import ExportedProgram
from torch.fx import Node
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._registration import ONNXRegistry

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
        *((name, "default") for name in ("pixel_unshuffle", "linalg_vector_norm", "avg_pool2d")),
        *(("mean", "dim"), ("eq", "Scalar"), ("where", "Scalar"), ("softmax", "int"), ("transpose", "int")),
    )
)
"""Operators that the converter takes as they are."""


@contextlib.contextmanager
def shortened() -> Iterator[None]:
    """Lets `torch.onnx.export` leave out what changes nothing."""
    decompose: Callable[..., ExportedProgram] = ExportedProgram.run_decompositions
    promote: Callable[[torch.fx.GraphModule], None] = _fx_passes.insert_type_promotion_nodes
    settled: list[torch.fx.GraphModule] = []

    def lower(program: ExportedProgram, *args: Any, **kwargs: Any) -> ExportedProgram:
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        renamed = [(node, *_renamed(node)) for node in calls]
        if not all(target in _TAKEN or not isinstance(target, torch._ops.OpOverload) for _, target, _, _ in renamed):
            return decompose(program, *args, **kwargs)
        for node, target, arguments, options in renamed:
            node.target, node.args, node.kwargs = target, arguments, options
        program.graph_module.recompile()
        if all(map(_of_one_type, calls)):
            settled.append(program.graph_module)
        return program

    def promote_others(graph_module: torch.fx.GraphModule) -> None:
        if not any(graph_module is known for known in settled):
            promote(graph_module)

    with (
        _instead(ExportedProgram, "run_decompositions", lower),
        _instead(_fx_passes, "insert_type_promotion_nodes", promote_others),
        _instead(ONNXRegistry, "from_torchlib", staticmethod(_operators)),
        _instead(RewriteRule, "try_rewrite", _try_rewrite),
    ):
        yield


@contextlib.contextmanager
def _instead(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


_gather = ONNXRegistry.from_torchlib
_compare = RewriteRule.try_rewrite


@functools.cache
def _operators(opset_version: int) -> ONNXRegistry:
    """The operators that the converter knows; nothing is added to them."""
    return _gather(opset_version)


def _try_rewrite(rule: RewriteRule, model: Any, graph: Any, node: Any, **options: Any) -> Any:
    kind = _last_operator(rule)
    return _compare(rule, model, graph, node, **options) if kind in (None, node.op_type) else None


@functools.cache
def _last_operator(rule: RewriteRule) -> str | None:
    """The kind of the operator at which a rule's pattern is laid; None where that may be several, or is not to be had.

    It is the first of the operators that the pattern ends in. Where there are more, the library looks for the others in
    the whole graph, and does so at every node: that grows with the square of the graph.
    """
    try:  # no version of the library promises these names
        known = rule._target_pattern.output_nodes[0].op_identifier()
    except (AttributeError, IndexError):
        return None
    return known[1] if known else None


def _of_one_type(node: Node) -> bool:
    """Whether the operator reads tensors of one floating type, and so promotes nothing."""
    values = [value.meta.get("val") for value in node.all_input_nodes]
    types = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    return len(types) <= 1 and all(dtype.is_floating_point for dtype in types)


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
