"""Turns the residual trunk of a network so that one channel holds the mean of all: no norm subtracts a mean any more.

LayerNorm is blind to the mean over the channels of a pixel. With the Householder reflection H that takes the unit
vector (1, ..., 1) / sqrt(c) to (1, 0, ..., 0), the trunk y = H x carries that mean in its first channel alone, and
lengths do not change:

    LN(x) = H (y without its first channel) / sqrt(|y without its first channel|^2 / c + eps)

So a norm needs the squares of y and nothing else, and H (H = H^T = H^-1) goes into the convs that read and write the
trunk, exactly. Where something else than a conv reads it (a reasoning unit, a filter in the frequency domain) the trunk
is reflected back on the way. It takes one convolution, one subtraction and two changes of layout from every norm.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.export.blocks import FoldedBlock, FoldedUnit
from nafnet_deploy.export.norms import ChannelNorm
from nafnet_deploy.export.stereo import FoldedAttention
from nafnet_deploy.models.nafnet import NAFNet
from nafnet_deploy.models.nafssr import NAFSSR


def normal(channels: int) -> Tensor:
    """The unit vector n of the reflection H = I - 2 n n^T: float64 [c]. One channel is its own mean, and H = I."""
    n = torch.full((channels,), 1 / math.sqrt(channels), dtype=torch.float64)
    n[0] -= 1
    return n / n.norm() if channels > 1 else n


class Reflect(nn.Module):
    """H x for every pixel, [B, c, H, W] -> the same; in float32, because the product with n is a sum over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = normal(channels).float()
        self.read = nn.Parameter(n.view(1, -1, 1, 1).clone())
        self.write = nn.Parameter(-2 * n.view(-1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide + F.conv2d(F.conv2d(wide, self.read), self.write)).to(x.dtype)


def reflect(folded: nn.Module) -> None:
    """Reflects the trunk of every NAFNet and NAFSSR and of the blocks inside every reasoning unit, in place.

    Args:
        folded: a network in deployment form, all its NAFBlocks and units `FoldedBlock` and `FoldedUnit`.
    """
    for module in list(folded.modules()):
        if isinstance(module, FoldedUnit) and len(module.blocks) and _normed(module.blocks):
            _inside(module)
        elif isinstance(module, NAFNet) and all(map(_normed, _stages(module))):
            _trunk(module)
        elif isinstance(module, NAFSSR) and _normed(stage := _stereo_stage(module)):
            _stereo(module, stage)


def _inside(unit: FoldedUnit) -> None:
    """The blocks of a unit read a product that no conv writes, and two convs read what they give."""
    unit.blocks.insert(0, Reflect(unit.reasoning.in_channels))
    _blocks(unit.blocks)
    _reads(unit.reasoning)
    _reads(unit.gate)


def _trunk(network: NAFNet) -> None:
    places = getattr(network, "reasoning", {})
    last = len(network.encoders) - 1
    _writes(network.intro)
    for level in range(last + 1):
        stage, down = _stage(network.encoders[level]), _conv(network.downs[level])
        _blocks(stage)
        if level == last and "encoder" in places:  # the unit, the skip and the way down read it as it was
            stage.append(Reflect(down.in_channels))
        else:
            _reads(down)
            keep = network.filters[level]
            if not isinstance(keep, nn.Identity):
                network.filters[level] = nn.Sequential(Reflect(down.in_channels), keep, Reflect(down.in_channels))
        _writes(down)
    _blocks(network.middle_blks)
    turned = "middle" not in places
    if not turned:
        network.middle_blks.append(Reflect(_conv(network.downs[last]).out_channels))
    for level in range(last + 1):
        stage, up = _stage(network.decoders[level]), _conv(_stage(network.ups[level])[0])
        if turned:
            _reads(up)
        if level == 0 and "encoder" in places:  # its skip was turned back, so the sum is turned here
            stage.insert(0, Reflect(up.out_channels // 4))
        else:
            _writes(up, pixels=4)
        _blocks(stage)
        turned = not (level == 0 and "decoder" in places)
        if not turned:
            stage.append(Reflect(up.out_channels // 4))
    if turned:
        _reads(network.ending)


def _stereo(network: NAFSSR, stage: nn.Sequential) -> None:
    """Convs alone read and write the trunk: what an attention adds to it are means of what its value convs give."""
    _writes(network.intro)
    _blocks(stage)
    for fusion in network.modules():
        if isinstance(fusion, FoldedAttention):
            fusion.norm.reflected()
            for query in (fusion.query_l, fusion.query_r):
                _reads(query, mean=False)
            for value in (fusion.value_l, fusion.value_r):
                _reads(value)
                _writes(value)
    _reads(network.up[0])


def _stereo_stage(network: NAFSSR) -> nn.Sequential:
    """All its blocks, without the attentions between them."""
    return nn.Sequential(*[block for block in network.modules() if isinstance(block, FoldedBlock)])


def _stage(module: nn.Module) -> nn.Sequential:
    assert isinstance(module, nn.Sequential)
    return module


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _stages(network: NAFNet) -> list[nn.Sequential]:
    return [_stage(module) for module in (*network.encoders, network.middle_blks, *network.decoders)]


def _normed(stage: nn.Sequential) -> bool:
    """Whether every block has both norms."""
    blocks = [block for block in stage if isinstance(block, FoldedBlock)]
    return all(isinstance(norm, ChannelNorm) for block in blocks for norm in (block.norm1, block.norm2))


def _blocks(stage: nn.Sequential) -> None:
    for block in stage:
        if isinstance(block, FoldedBlock):
            for norm, gated in ((block.norm1, block.mix), (block.norm2, block.feed)):
                assert isinstance(norm, ChannelNorm)
                norm.reflected()
                for conv in (*list(gated.first)[:1], *list(gated.second)[:1]):  # what is no gate has one row of convs
                    _reads(conv, mean=False)
            _writes(block.project)
            _writes(block.close)


@torch.no_grad()
def _reads(conv: nn.Module, mean: bool = True) -> None:
    """Makes a conv read the reflected trunk: W -> W H; without the mean channel where a norm stands before it."""
    weight = _conv(conv).weight.double()
    n = normal(weight.shape[1])
    turned = weight - 2 * torch.einsum("oiyx,i,j->ojyx", weight, n, n)
    if not mean:
        turned[:, 0] = 0
    _conv(conv).weight.copy_(turned)


@torch.no_grad()
def _writes(conv: nn.Module, pixels: int = 1) -> None:
    """Makes a conv write the reflected trunk: W -> H W, b -> H b.

    Args:
        conv: the conv.
        pixels: new pixels per old one that a PixelShuffle behind it makes: every channel has that many rows of W.
    """
    dense = _conv(conv)
    channels = dense.out_channels // pixels
    n = normal(channels)
    for tensor in (dense.weight, dense.bias):
        if tensor is not None:
            rows = tensor.double().reshape(channels, -1)
            tensor.copy_((rows - 2 * torch.outer(n, n @ rows)).reshape(tensor.shape))
