"""The small parts of a NAFNet block. All tensors are [batch, channels, height, width]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of every pixel (Ba et al., 2016), as NAFNet uses it.

    The statistics are computed in float32 whatever the input's dtype: in half precision the squared
    deviation overflows at 65504 and the layer collapses without a warning.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(
            x.permute(0, 2, 3, 1).float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps
        )
        return y.permute(0, 3, 1, 2).to(x.dtype)


class GlobalMean(nn.Module):
    """Mean over height and width, summed in float32: [B, c, H, W] -> [B, c, 1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(2, 3), keepdim=True).to(x.dtype)
