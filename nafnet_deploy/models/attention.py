"""Channel attention: what one number per channel, taken over the whole map, says about the channels.

Each module returns the scale of the channels, [B, c, H, W] -> [B, c, 1, 1]; the caller multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.models.layers import GlobalMean


def simplified(channels: int) -> nn.Sequential:
    """SCA: the mean through one 1x1 conv (Chen et al., ECCV 2022, equation 6)."""
    return nn.Sequential(GlobalMean(), nn.Conv2d(channels, channels, 1))


def squeezed(channels: int) -> nn.Sequential:
    """CA: the mean through two 1x1 convs, ReLU between, sigmoid behind (Hu et al., "Squeeze-and-Excitation
    Networks", 2018), reduced to half the channels as in NAFNet's Baseline."""
    return bottleneck(channels, channels // 2, nn.ReLU())


def bottleneck(channels: int, between: int, activation: nn.Module) -> nn.Sequential:
    """The mean through a 1x1 conv to `between` channels, an activation, a 1x1 conv back, and a sigmoid."""
    return nn.Sequential(
        GlobalMean(), nn.Conv2d(channels, between, 1), activation, nn.Conv2d(between, channels, 1), nn.Sigmoid()
    )


def efficient(channels: int) -> nn.Sequential:
    """ECA: the mean through a 1-D conv over the channels, then sigmoid (Wang et al., "ECA-Net", 2020)."""
    return nn.Sequential(GlobalMean(), ChannelConv(eca_kernel(channels)), nn.Sigmoid())


def eca_kernel(channels: int) -> int:
    """Channels that ECA's conv looks at: int(|(log2 c + 1) / 2|), and one more where that is even."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


class ChannelConv(nn.Module):
    """A 1-D conv along the channels of every pixel, zeros beyond the ends, no bias: [B, c, H, W] -> the same shape."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 1, kernel))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv1d

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        column = x.reshape(batch, 1, channels, height * width)
        kernel = self.weight.shape[2]
        return F.conv2d(column, self.weight.unsqueeze(3), padding=(kernel // 2, 0)).reshape(x.shape)


class NoAttention(nn.Module):
    """The scale 1, for networks without channel attention."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_ones(1, 1, 1, 1)


def absent(channels: int) -> NoAttention:
    """No attention, however many channels there are."""
    return NoAttention()


KINDS: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "sca": ("sca", simplified),
    "ca": ("se", squeezed),
    "eca": ("eca", efficient),
    "none": ("unscaled", absent),
}
"""Per kind its name in a block, which published checkpoints hold, and its maker."""
