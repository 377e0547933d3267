"""Channel attention in deployment form: a pool, 1x1 convs and activations, nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.models.attention import ChannelConv, NoAttention
from nafnet_deploy.models.layers import GlobalMean, local_mean


class Attend(nn.Module):
    """y times the scale that the attention finds for its channels: [B, c, H, W] -> the same shape.

    Args:
        attention: one of `models.attention`.
        channels: c.
    """

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self.scale: nn.Module | None = None
        """From means to scales, [B, c, 1, 1]; None where there is no attention."""
        self.window = 0
        """Side of the window of local means in pixels of this map; 0 for global means."""
        if not isinstance(attention, NoAttention):
            pool, *layers = attention.children()
            assert isinstance(pool, GlobalMean)
            self.window = pool.window
            self.scale = nn.Sequential(*[as_matrix(m, channels) if isinstance(m, ChannelConv) else m for m in layers])

    def forward(self, y: Tensor) -> Tensor:
        if self.scale is None:
            return y
        scale: Tensor = self.scale(local_mean(y.float(), self.window).to(y.dtype) if self.window else global_mean(y))
        return y * scale


def global_mean(x: Tensor) -> Tensor:
    """Mean over height and width in float32, as the pooling operator that blocked layouts know."""
    return F.adaptive_avg_pool2d(x.float(), 1).to(x.dtype)


def as_matrix(conv: ChannelConv, channels: int) -> nn.Conv2d:
    """The 1x1 conv with a band matrix that equals a 1-D conv over the channels.

    A conv along the channel axis would need transposes around it, in every block. The matrix costs what SCA's does,
    on one value per channel: nothing beside the convs on maps.
    """
    kernel = conv.weight.detach().view(-1)
    reach = len(kernel) // 2
    matrix = torch.zeros(channels, channels)
    for offset, weight in enumerate(kernel, -reach):
        if abs(offset) < channels:
            matrix += torch.diag(weight.expand(channels - abs(offset)), offset)
    dense = nn.Conv2d(channels, channels, 1, bias=False)
    dense.weight = nn.Parameter(matrix[:, :, None, None])
    return dense
