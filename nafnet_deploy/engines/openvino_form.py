"""The form of a graph that OpenVINO runs fastest: sums over channels as reductions.

Our graphs write the mean over channels as a 1x1 convolution with weights 1/c, because ONNX Runtime would leave its
blocked layout for a reduction. OpenVINO fuses a reduction with what surrounds it and pads the one-channel convolution
instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset13


def reduce_means(model: Any) -> int:
    """Writes every 1x1 convolution that averages channels as a reduction, in place; returns how many there were.

    A first channel that does not count (see `export.reflect`) is masked.
    """
    found = 0
    for op in model.get_ops():
        weight = _weight(op)
        if weight is None or weight.shape[0] != 1 or not (weight[0, 1:] == np.float32(1 / weight.shape[1])).all():
            continue
        value = op.input_value(0)
        if weight[0, 0] == 0 and weight.shape[1] > 1:
            mask = np.ones((1, weight.shape[1], 1, 1), np.float32)
            mask[:, 0] = 0
            value = opset13.multiply(value, opset13.constant(mask)).output(0)
        elif weight[0, 0] != np.float32(1 / weight.shape[1]):
            continue
        mean = opset13.reduce_mean(value, np.array([1], np.int64), keep_dims=True)
        mean.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(mean.output(0))
        found += 1
    return found


def _weight(op: Any) -> NDArray[np.float32] | None:
    """The matrix [outputs, inputs] of a 1x1 convolution; None for anything else."""
    if op.get_type_name() != "Convolution":
        return None
    weight = op.input_value(1).get_node()
    if weight.get_type_name() != "Constant" or tuple(weight.get_output_shape(0))[2:] != (1, 1):
        return None
    return np.asarray(weight.get_data(), np.float32)[:, :, 0, 0]
