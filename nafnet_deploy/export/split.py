"""Cuts a graph at the reasoning: head, one step and tail, to be run one after the other for any number of iterations.

    head: input -> features, what every step makes of them alone (context), and whatever else the tail needs (skips)
    step: features, context, state -> state_next, delta
    tail: input, features, state, skips -> output

The parts are cut out of one graph with two iterations, so they hold exactly the nodes and weights of the unrolled
form, each weight in one part. The state before the first step is zero. `delta` is the root mean square of what the
step changed in the state, one float32 per picture: all that a stopping rule needs leaves the device as one number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError, ExportError
from nafnet_deploy.export import graph
from nafnet_deploy.export.blocks import FoldedUnit
from nafnet_deploy.export.unroll import INPUT, OUTPUT
from nafnet_deploy.manifest import DELTA, FEATURES, HEAD, STATE, STATE_NEXT, STEP, TAIL
from nafnet_deploy.models.nafnet_rr import NAFNetRR

CONTEXT = "context_"
"""How the names of the tensors begin that the steps share."""
SECOND_STATE = "state_2"
"""Name, in the graph that is cut, of the state after the second iteration."""
_DELTA_AXES = "delta_axes"


def check_splits(config: ModelConfig) -> str:
    """The one place where the network reasons.

    With units at several places an early picture would have to run everything behind the first unit again, so the
    step would be most of the network and nothing would be saved.

    Raises:
        ConfigError: the network reasons nowhere, or at more than one place.
    """
    if len(config.positions) != 1:
        where = f"at {len(config.positions)} places ({', '.join(config.positions)})" if config.positions else "nowhere"
        raise ConfigError(
            f"this network reasons {where}; --mode split needs a unit at exactly one place.",
            "Export it with --mode unrolled.",
        )
    return config.positions[0]


class Stepped(nn.Module):
    """forward(x) -> (picture after two iterations, features that enter the unit, its context, its first two states).

    Args:
        network: in deployment form.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, NAFNetRR)
        self.network = network
        (unit,) = network.reasoning.values()
        assert isinstance(unit, FoldedUnit)
        context = [f"{CONTEXT}{i}" for i in range(1 + len(unit.hold))]
        self.taps = (FEATURES, *context, STATE, SECOND_STATE)
        """Names of what it returns besides the picture."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        network, seen = self.network, list[Tensor]()

        def tapped(position: str, features: Tensor, iters: int) -> list[Tensor]:
            if position not in network.reasoning:
                return [features] * iters
            unit, h, k = network.reasoning[position], features, None
            assert isinstance(unit, FoldedUnit)
            context = unit.context(features)
            seen.extend((features, *context))
            for _ in range(iters):
                h, k = unit.step(features, h, k, context)
                seen.append(k)
            return [h] * iters

        network.refine = tapped  # type: ignore[method-assign]
        try:
            return (network(x, 2), *seen)
        finally:
            del network.refine


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Nodes between some values, in order, and the values they read from outside."""

    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]

    @property
    def written(self) -> set[str]:
        return {name for node in self.nodes for name in node.output}


def split_graph(model: onnx.ModelProto, batch: int | str) -> dict[str, onnx.ModelProto]:
    """Cuts the graph of a `Stepped` network in three.

    Args:
        model: the graph, with the sizes of its values (`sizes.name_sizes`), which carry the names of `Stepped.taps`.
        batch: B of the input; a word is a free dimension.

    Returns:
        The graphs of `head`, `step` and `tail`.

    Raises:
        ExportError: the graph does not fall into three parts there, or a part breaks the standard.
    """
    values = {v.name: v for v in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    weights = {w.name for w in model.graph.initializer}
    context = sorted(name for node in model.graph.node for name in node.output if name.startswith(CONTEXT))
    entry = {FEATURES, *context}
    head = _between(model.graph, entry, {INPUT}, weights)
    step = _between(model.graph, {SECOND_STATE}, {*entry, STATE}, weights)
    inner = head.written - _constants(model.graph, weights)
    tail = _between(model.graph, {OUTPUT}, {INPUT, FEATURES, SECOND_STATE, *inner}, weights)
    if set(step.reads) != {*entry, STATE} or not set(tail.reads) <= {INPUT, FEATURES, SECOND_STATE, *inner}:
        raise ExportError(
            f"the reasoning cannot be cut out: a step reads {', '.join(sorted(step.reads))}.",
            "Export with --mode unrolled.",
        )
    skips = [name for name in tail.reads if name in inner and name not in entry]
    names = {skip: f"skip_{i}" for i, skip in enumerate(skips, 1)}
    parts = {
        HEAD: _part(model, HEAD, head, [INPUT], [FEATURES, *context, *skips], values, names),
        STEP: _part(model, STEP, step, [FEATURES, *context, STATE], [SECOND_STATE], values, {SECOND_STATE: STATE_NEXT}),
        TAIL: _part(model, TAIL, tail, list(tail.reads), [OUTPUT], values, {**names, SECOND_STATE: STATE}),
    }
    _measure_change(parts[STEP], batch)
    for part in parts.values():
        graph.check(part)
    return parts


def _between(whole: onnx.GraphProto, ends: set[str], stops: set[str], weights: set[str]) -> _Cut:
    """The nodes on which `ends` depend, going back no further than `stops`."""
    needed, nodes = set(ends), []
    reads: list[str] = []
    for node in reversed(whole.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(name for name in node.input if name not in stops)
            reads.extend(name for name in node.input if name in stops or (name == INPUT and name not in weights))
    order = [INPUT, FEATURES, *(name for node in whole.node for name in node.output if name != FEATURES)]
    return _Cut(tuple(nodes[::-1]), tuple(sorted(set(reads), key=order.index)))


def _constants(whole: onnx.GraphProto, weights: set[str]) -> set[str]:
    """Values that depend on weights alone: each part makes its own."""
    known = set(weights)
    for node in whole.node:
        if all(name in known for name in node.input if name):
            known.update(node.output)
    return known - weights


def _part(
    model: onnx.ModelProto,
    name: str,
    cut: _Cut,
    inputs: Iterable[str],
    outputs: Iterable[str],
    values: Mapping[str, onnx.ValueInfoProto],
    names: Mapping[str, str],
) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.Clear()
    part.graph.name = f"{model.graph.name} {name}"
    part.graph.node.extend(cut.nodes)
    used = {n for node in cut.nodes for n in node.input}
    part.graph.initializer.extend(w for w in model.graph.initializer if w.name in used)
    part.graph.input.extend(values[n] for n in inputs)
    part.graph.output.extend(values[n] for n in outputs)
    inner = {n for node in cut.nodes for n in node.output} - set(outputs)
    part.graph.value_info.extend(v for v in model.graph.value_info if v.name in inner)
    for value in (*part.graph.input, *part.graph.output, *part.graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in part.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    return part


def _measure_change(step: onnx.ModelProto, batch: int | str) -> None:
    """Adds the output `delta` [B]: the root mean square of state_next - state per picture, in float32."""
    step.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2, 3], np.int64), _DELTA_AXES))
    step.graph.node.extend(
        [
            helper.make_node("Cast", [STATE], ["delta_from"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [STATE_NEXT], ["delta_to"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["delta_to", "delta_from"], ["delta_change"]),
            helper.make_node("Mul", ["delta_change", "delta_change"], ["delta_square"]),
            helper.make_node("ReduceMean", ["delta_square", _DELTA_AXES], ["delta_mean"], keepdims=0),
            helper.make_node("Sqrt", ["delta_mean"], [DELTA]),
        ]
    )
    step.graph.output.append(helper.make_tensor_value_info(DELTA, TensorProto.FLOAT, [batch]))
