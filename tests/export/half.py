"""Half graphs for tests: made from a checkpoint in memory, and run in their own arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.export import graph
from nafnet_deploy.export.norms import ChannelNorm
from nafnet_deploy.export.precision import HalfPlan
from nafnet_deploy.export.unroll import OUTPUT, unroll
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.parity.oracle import OracleEngine
from tests.weights import seeded, stir

CONFIG = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("middle",),
    reasoning_blocks=0,
    iterations=2,
)
"""The network of the adversarial cases."""
NOTHING_WIDENED = HalfPlan(trunk=False, state=False, reasons={})
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}


def half_graph(half: nn.Module, config: ModelConfig, iterations: int, size: int) -> onnx.ModelProto:
    """The graph of a half module for one square input of `size` pixels."""
    shape = (1, config.channels, size, size)
    model = unroll(half, config, iterations, shape, {}, 18)
    graph.pool_globally(model)
    graph.finish(model, "half", shape, [OUTPUT])
    graph.check(model)
    return model


def run_half(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with OracleEngine(model) as engine:
        return restore_batch(engine, x)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The declared element type of every value, by strict inference."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    return types | {weight.name: weight.data_type for weight in inferred.initializer}


def half_norm(self: ChannelNorm, x: Tensor) -> Tensor:
    """ChannelNorm without its island: the statistics in the type of the features."""
    mean = self.mean.to(x.dtype)
    centred = x if self.centred else x - F.conv2d(x, mean)
    return centred * torch.rsqrt(F.conv2d(centred * centred, mean) + self.eps)


def half_mean(x: Tensor) -> Tensor:
    """The global mean without its island."""
    return F.adaptive_avg_pool2d(x, 1)


@torch.no_grad()
def ordinary() -> nn.Module:
    """The network before it is made to overflow; its blocks matter, so that losing them shows."""
    network = stir(seeded(CONFIG)).eval()
    for block in (m for m in network.modules() if isinstance(m, NAFBlock)):
        block.beta *= 5
        block.gamma *= 5
    return network


@torch.no_grad()
def amplify(network: nn.Module, factor: float) -> nn.Module:
    """Multiplies trunk and state by `factor`; the norms and the last conv divide it out again."""
    unit = network.reasoning["middle"]
    half = CONFIG.width * 4
    for module in (*network.encoders, *network.middle_blks, *network.decoders):
        for block in (m for m in module.modules() if isinstance(m, NAFBlock)):
            block.beta *= factor
            block.gamma *= factor
    for tensor in (network.intro.weight, network.intro.bias, *(down.bias for down in network.downs)):
        tensor *= factor
    for tensor in (unit.update.weight, unit.update.bias):
        tensor[:half] *= factor
    network.ending.weight /= factor
    return network
