"""The form of a graph that OpenVINO runs fastest: sums over channels as reductions.

Our graphs write the mean over channels as a 1x1 convolution with weights 1/c, because ONNX Runtime would leave its
blocked layout for a reduction. OpenVINO fuses a reduction with what surrounds it and pads the one-channel convolution
instead. Where the mean belongs to a norm, `engines.openvino_norms` has taken it already.
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
        row = mean_weights(op)
        if row is None:
            continue
        value = op.input_value(0)
        if row[0] == 0:
            mask = np.ones((1, len(row), 1, 1), np.float32)
            mask[:, 0] = 0
            value = opset13.multiply(value, opset13.constant(mask)).output(0)
        mean = opset13.reduce_mean(value, np.array([1], np.int64), keep_dims=True)
        mean.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(mean.output(0))
        found += 1
    return found


def mean_weights(op: Any) -> NDArray[np.float32] | None:
    """The weights [c] of a 1x1 convolution that averages c channels, all or all but the first; None for others."""
    weight = dense_weight(op)
    if weight is None or weight.shape[0] != 1 or weight.shape[2:] != (1, 1):
        return None
    row, share = weight[0, :, 0, 0], np.float32(1 / weight.shape[1])
    averages = (row[1:] == share).all() and (row[0] == share or (row[0] == 0 and len(row) > 1))
    return row if averages else None


def dense_weight(op: Any) -> NDArray[np.float32] | None:
    """The weights [outputs, inputs, kh, kw] of a dense convolution; None for anything else."""
    return constant(op.input_value(1)) if op.get_type_name() == "Convolution" else None


def constant(value: Any) -> NDArray[np.float32] | None:
    """What an operator's input always is; None when it depends on the picture."""
    op = value.get_node()
    return np.asarray(op.get_data(), np.float32) if op.get_type_name() == "Constant" else None
