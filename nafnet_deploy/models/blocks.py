"""The NAFNet block (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, figure 3) and its variants."""

from __future__ import annotations

import dataclasses
from typing import Self

import torch
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.attention import KINDS
from nafnet_deploy.models.do_conv import spatial_conv
from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the blocks of a network are made of; the fields are those of `ModelConfig`."""

    gate: str = "simple"
    """Activation of both halves."""
    attention: str = "sca"
    """Channel attention."""
    norm: str = "layer"
    """`layer` or `none`."""
    dw_expand: int = 2
    """Channels of the depthwise conv over those of the block."""
    ffn_expand: int | float = 2
    """Channels of the feed-forward half over those of the block."""
    do_conv: bool = False
    """Whether the depthwise conv is over-parameterised."""

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """The parts that a configuration names."""
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})


NAFNET = Parts()
"""Those of NAFNet."""


class NAFBlock(nn.Module):
    """Two residual halves at constant width: [B, c, H, W] -> [B, c, H, W].

    The first half mixes space (depthwise 3x3) and channels (channel attention); the second is the feed-forward half.
    `beta` and `gamma` scale the two residuals and start at 0, so a fresh block is the identity. Parameter names are
    those of the published checkpoints, of NAFNet (figure 3d) and of its Baseline (figure 3c: GELU and CA).
    """

    def __init__(self, channels: int, dropout: float = 0.0, parts: Parts = NAFNET) -> None:
        super().__init__()
        c = channels
        self.sg = Gate(parts.gate)
        mixed, fed = c * parts.dw_expand, int(c * parts.ffn_expand)
        attended = mixed // self.sg.factor
        self.norm1 = LayerNorm2d(c) if parts.norm == "layer" else nn.Identity()
        self.conv1 = nn.Conv2d(c, mixed, 1)
        self.conv2 = spatial_conv(parts.do_conv, mixed, mixed, 3, padding=1, groups=mixed)
        self.scale_name, make = KINDS[parts.attention]
        setattr(self, self.scale_name, make(attended))
        self.conv3 = nn.Conv2d(attended, c, 1)
        self.norm2 = LayerNorm2d(c) if parts.norm == "layer" else nn.Identity()
        self.conv4 = nn.Conv2d(c, fed, 1)
        self.conv5 = nn.Conv2d(fed // self.sg.factor, c, 1)
        self.dropout1 = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.dropout2 = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    @property
    def attention(self) -> nn.Module:
        """The channel attention, whatever its name in the checkpoint."""
        return self.get_submodule(self.scale_name)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sg(self.conv2(self.conv1(self.norm1(x))))
        y = self.conv3(y * self.attention(y))
        x = x + self.dropout1(y) * self.beta
        y = self.conv5(self.sg(self.conv4(self.norm2(x))))
        result: Tensor = x + self.dropout2(y) * self.gamma
        return result
