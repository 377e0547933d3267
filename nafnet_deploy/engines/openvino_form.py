"""The form of a graph that OpenVINO runs fastest: sums over channels as reductions, and products that broadcast.

Our graphs write the mean over channels as a 1x1 convolution with weights 1/c, and what brings one channel back to c as
another, because ONNX Runtime would leave its blocked layout for anything else. OpenVINO fuses a reduction and a product
with what surrounds them and pads the one-channel convolution instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset13


def rewrite_channel_convs(model: Any) -> int:
    """Writes every 1x1 convolution from or to one channel with equal weights anew, in place; returns how many.

    A first channel that does not count (see `export.reflect`) is masked.
    """
    found = 0
    for op in model.get_ops():
        weight = _weight(op)
        if weight is None:
            continue
        outputs, inputs = weight.shape
        if outputs == 1 and inputs > 1 and (weight[0, 1:] == np.float32(1 / inputs)).all():
            value = op.input_value(0)
            if weight[0, 0] == 0:
                mask = np.ones((1, inputs, 1, 1), np.float32)
                mask[:, 0] = 0
                value = opset13.multiply(value, opset13.constant(mask)).output(0)
            elif weight[0, 0] != weight[0, 1]:
                continue
            new = opset13.reduce_mean(value, np.array([1], np.int64), keep_dims=True).output(0)
        elif inputs == 1 and outputs > 1 and abs(weight[0, 0]) == 1 and (weight == weight[0, 0]).all():
            new = op.input_value(0)
            if weight[0, 0] < 0:
                new = opset13.negative(new).output(0)
        else:
            continue
        op.output(0).replace(new)
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
