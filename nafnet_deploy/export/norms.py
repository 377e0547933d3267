"""Convs and norms in deployment form: what several folded modules are made of."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.models.layers import LayerNorm2d


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the channels of every pixel: [B, c, H, W] -> float32 [B, c, H, W].

    Computed in float32 whatever the input's dtype: the squared deviation passes 65504 long before x does.
    """

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        channels = norm.weight.shape[0]
        self.eps = norm.eps
        self.mean = nn.Parameter(torch.full((1, channels, 1, 1), 1 / channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x.float() - F.conv2d(x.float(), self.mean)
        variance = F.conv2d(centred * centred, self.mean)
        return centred * torch.rsqrt(variance + self.eps)


def absorb_norm(norm: LayerNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """The 1x1 `conv` with the affine part of the LayerNorm before it inside."""
    folded = copy.deepcopy(conv)
    weight, bias = conv.weight.detach().double(), _bias(conv).double()
    matrix = weight[:, :, 0, 0]
    folded.weight = nn.Parameter((weight * norm.weight.detach().double().view(1, -1, 1, 1)).float())
    folded.bias = nn.Parameter((bias + matrix @ norm.bias.detach().double()).float())
    return folded


def scale_output(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    """`conv` with its output channels multiplied by `scale` [1, c, 1, 1]."""
    folded = copy.deepcopy(conv)
    factor = scale.detach().double().view(-1)
    folded.weight = nn.Parameter((conv.weight.detach().double() * factor.view(-1, 1, 1, 1)).float())
    folded.bias = nn.Parameter((_bias(conv).double() * factor).float())
    return folded


def halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two convs that compute the first and the second half of the output channels; dense or depthwise."""
    parts = []
    depthwise = conv.groups > 1
    half = conv.out_channels // 2
    for rows in (slice(None, half), slice(half, None)):
        part = nn.Conv2d(
            half if depthwise else conv.in_channels,
            half,
            conv.kernel_size,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            groups=half if depthwise else 1,
        )
        part.weight = nn.Parameter(conv.weight.detach()[rows].clone())
        part.bias = nn.Parameter(_bias(conv)[rows].clone())
        parts.append(part)
    return parts[0], parts[1]


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
