"""The NAFNet block (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, figure 3d)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.models.layers import GlobalMean, LayerNorm2d, SimpleGate


class NAFBlock(nn.Module):
    """Two gated residual halves at constant width: [B, c, H, W] -> [B, c, H, W].

    The first half mixes space (depthwise 3x3) and channels (simplified channel attention, SCA); the second
    is the feed-forward half. `beta` and `gamma` scale the two residuals and start at 0, so a fresh block is
    the identity. Parameter names are those of the published checkpoints.
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        c = channels
        self.norm1 = LayerNorm2d(c)
        self.conv1 = nn.Conv2d(c, 2 * c, 1)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(GlobalMean(), nn.Conv2d(c, c, 1))
        self.conv3 = nn.Conv2d(c, c, 1)
        self.norm2 = LayerNorm2d(c)
        self.conv4 = nn.Conv2d(c, 2 * c, 1)
        self.conv5 = nn.Conv2d(c, c, 1)
        self.dropout1 = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.dropout2 = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.sg(self.conv2(self.conv1(self.norm1(x))))
        y = self.conv3(y * self.sca(y))
        x = x + self.dropout1(y) * self.beta
        y = self.conv5(self.sg(self.conv4(self.norm2(x))))
        result: Tensor = x + self.dropout2(y) * self.gamma
        return result
