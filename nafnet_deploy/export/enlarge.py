"""Bilinear enlargement as a convolution, which no engine computes in a way of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.models.layers import Enlarge


class ConvEnlarge(nn.Module):
    """An Enlarge in deployment form, exactly: [B, C, H, W] -> float32 [B, C, s H, s W].

    The s x s new pixels of an old one are weighted means of its 3x3 neighbourhood, the same everywhere when the edge is
    repeated outside.
    """

    def __init__(self, enlarge: Enlarge) -> None:
        super().__init__()
        channels, scale = enlarge.channels, enlarge.scale
        self.scale = scale
        offset = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5  # from the old pixel's centre
        line = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], dim=1)
        kernel = torch.einsum("ay,bx->abyx", line, line).reshape(scale * scale, 3, 3).float()
        weight = torch.zeros(channels, scale * scale, channels, 3, 3)
        for channel in range(channels):
            weight[channel, :, channel] = kernel
        self.weight = nn.Parameter(weight.flatten(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x.float()
        padded = F.pad(x.float(), [1, 1, 1, 1], mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.weight), self.scale)
