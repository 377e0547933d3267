"""LayerNorm as one operator of OpenVINO: NormalizeL2, where our graphs write squares, a mean, a root and a product.

    x / sqrt(mean(x^2) + eps) = sqrt(c) x / sqrt(sum(x^2) + c eps)        over the c channels of a pixel

One kernel reads every pixel once; the five operators read and write the map four times. NormalizeL2 counts every
channel, though, and in the reflected trunk (`export.reflect`) the first one holds the mean and must not count. There
the trunk carries that channel times `SCALE`: its square is then below the rounding of the others' sum. A power of two
changes no digit, so what writes the trunk is scaled and what reads it scaled back, exactly.

It is done in memory while the engine loads, for float32 and bfloat16 alone: float16 has no such exponents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
from openvino import opset13
from openvino.passes import ConstantFolding, Manager

from nafnet_deploy.engines.openvino_form import constant, dense_weight, mean_weights

SCALE = 2.0**-30
"""Of the channel that must not count. Its square adds 1e-18 of it: nothing, unless the mean is 10^5 deviations."""


def fuse_norms(model: Any) -> int:
    """Writes every norm over channels as a NormalizeL2, in place; returns how many there were."""
    folding = Manager()
    folding.register_pass(ConstantFolding())  # biases come as reshapes whose shape is worked out
    folding.run_passes(model)
    norms = [norm for op in model.get_ops() if (norm := _norm(op)) is not None]
    inside = {op.get_name() for norm in norms if norm.masked for op in norm.ops}
    scaled, constants = set[str](), _Scaled()
    for norm in norms:
        if norm.masked and _key(norm.x) not in scaled:
            trunk = _trunk(norm.x)
            _scale(trunk, inside, constants)
            scaled.update(trunk)
    for norm in norms:
        square, root = norm.ops[0], np.float32(norm.channels**0.5)
        axes = opset13.constant(np.array([1], np.int64))
        # What it reads now: a trunk that no convolution writes is scaled by an operator behind it.
        unit = opset13.normalize_l2(square.input_value(0), axes, norm.channels * norm.eps, "add")
        norm.result.replace(opset13.multiply(unit, opset13.constant(root)).output(0))
    return len(norms)


@dataclasses.dataclass(frozen=True)
class _Norm:
    x: Any
    """What it divides."""
    result: Any
    """What it gives."""
    channels: int
    eps: float
    masked: bool
    """Whether the first channel does not count."""
    ops: tuple[Any, ...]
    """What it is made of, the square first."""


def _norm(mean: Any) -> _Norm | None:
    """The norm x * (1 / sqrt(mean(x * x) + eps)) around an operator that averages; None where there is none."""
    row = mean_weights(mean)
    if row is None:
        return None
    square, add = mean.input_value(0).get_node(), _only(mean, "Add")
    root = _only(add, "Sqrt")
    inverse = _only(root, "Divide")
    product = _only(inverse, "Multiply")
    if square.get_type_name() != "Multiply" or product is None:
        return None
    x, again = square.input_values()
    eps, one = constant(add.input_value(1)), constant(inverse.input_value(0))
    if eps is None or eps.size != 1 or one is None or one.size != 1 or one.item() != 1:
        return None
    if _key(x) != _key(again) or _key(x) not in map(_key, product.input_values()):
        return None
    result, masked = product.output(0), bool(row[0] == 0)
    if masked and not all(map(_ignores_first, result.get_target_inputs())):
        return None
    return _Norm(x, result, len(row), float(eps.item()), masked, (square, mean, add, root, inverse, product))


def _trunk(start: Any) -> dict[str, Any]:
    """All tensors that sums connect with this one."""
    found: dict[str, Any] = {}
    waiting = [start]
    while waiting:
        tensor = waiting.pop()
        if _key(tensor) in found:
            continue
        found[_key(tensor)] = tensor
        for op in (tensor.get_node(), *(reader.get_node() for reader in tensor.get_target_inputs())):
            if _is_sum(op, _channels(start)):
                waiting += [value for value in (*op.input_values(), op.output(0)) if constant(value) is None]
    return found


def _scale(trunk: dict[str, Any], inside: Collection[str], constants: _Scaled) -> None:
    """Scales the first channel of all these tensors; what reads them from outside reads what it did."""
    channels = _channels(next(iter(trunk.values())))
    factor = np.ones((1, channels, 1, 1), np.float32)
    factor[:, 0] = SCALE
    there, back = opset13.constant(factor), opset13.constant(1 / factor)
    for tensor in trunk.values():
        for reader in tensor.get_target_inputs():
            op = reader.get_node()
            if _is_sum(op, channels) or op.get_name() in inside:
                continue
            if dense_weight(op) is not None and reader.get_index() == 0:
                constants.replace(op.input(1), axis=1, count=1, factor=1 / SCALE)
            else:
                reader.replace_source_output(opset13.multiply(tensor, back).output(0))
    sums = {op.get_name(): op for tensor in trunk.values() if _is_sum(op := tensor.get_node(), channels)}
    for op in sums.values():
        for term in op.inputs():
            if (bias := constant(term.get_source_output())) is not None:
                constants.replace(term, axis=bias.ndim - 3, count=1, factor=SCALE)
    for tensor in trunk.values():
        op = tensor.get_node()
        writer = _before_shuffle(op) or op
        if op.get_name() in sums:
            continue
        if dense_weight(writer) is not None:
            pixels = _channels(writer.output(0)) // channels
            constants.replace(writer.input(1), axis=0, count=pixels, factor=SCALE)
        else:
            readers = list(tensor.get_target_inputs())
            product = opset13.multiply(tensor, there).output(0)
            for reader in readers:
                reader.replace_source_output(product)


class _Scaled:
    """Constants of which a part is scaled, each made once: weights that iterations share stay shared."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, int, float], Any] = {}

    def replace(self, place: Any, axis: int, count: int, factor: float) -> None:
        """Scales the first `count` entries along an axis of what an operator reads there."""
        source = place.get_source_output()
        key = (_key(source), axis, count, factor)
        if key not in self._made:
            values = np.array(constant(source), np.float32)
            values[(slice(None),) * axis + (slice(count),)] *= np.float32(factor)
            self._made[key] = opset13.constant(values).output(0)
        place.replace_source_output(self._made[key])


def _before_shuffle(op: Any) -> Any:
    """The convolution that this PixelShuffle alone reads; None for anything else."""
    if op.get_type_name() != "DepthToSpace" or op.get_attributes()["mode"] != "depth_first":
        return None
    source = op.input_value(0)
    alone = len(source.get_target_inputs()) == 1 and dense_weight(source.get_node()) is not None
    return source.get_node() if alone else None


def _is_sum(op: Any, channels: int) -> bool:
    """Whether it adds maps of that many channels, or a bias to one."""
    if op.get_type_name() != "Add":
        return False
    for value in op.input_values():
        bias = constant(value)
        if bias is None and _channels(value) != channels:
            return False
        if bias is not None and (bias.size != channels or bias.shape[-3:] != (channels, 1, 1)):
            return False
    return _channels(op.output(0)) == channels


def _ignores_first(reader: Any) -> bool:
    weight = dense_weight(reader.get_node())
    return weight is not None and reader.get_index() == 0 and not weight[:, 0].any()


def _channels(value: Any) -> int:
    """The second of four dimensions; 0 where there are not four or it is free."""
    shape = value.get_partial_shape()
    if shape.rank.is_dynamic or shape.rank.get_length() != 4 or shape[1].is_dynamic:
        return 0
    return int(shape[1].get_length())


def _only(op: Any, kind: str) -> Any:
    """The one operator that reads this one, where there is one of that kind and no other."""
    readers = [] if op is None else [reader.get_node() for reader in op.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 and readers[0].get_type_name() == kind else None


def _key(value: Any) -> str:
    return f"{value.get_node().get_name()}:{value.get_index()}"
