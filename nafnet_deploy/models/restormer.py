"""Restormer: a U-Net of transformer blocks whose attention runs over channels (Zamir et al., "Restormer: Efficient
Transformer for High-Resolution Image Restoration", CVPR 2022), with the published parameter names."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.layers import LayerNorm2d, without_autocast

EPS = 1e-5
"""Of the norms."""


def _named(**parts: nn.Module) -> nn.Sequential:
    """Modules in a row under the names of the published checkpoints."""
    return nn.Sequential(OrderedDict(parts))


def depthwise(channels: int) -> nn.Conv2d:
    """A 3x3 conv of every channel on its own, without bias."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


class TransposedAttention(nn.Module):
    """Every channel reads from all channels of its head: [B, c, H, W] -> the same shape.

    ::

        Q, K, V = dw3x3(1x1(x))                                 per head [c / heads, H W]
        y       = 1x1(softmax(t * norm(Q) norm(K)^T) V)         norm: length 1 over all pixels

    MDTA, equation 1. The map of weights is [c / heads, c / heads], however large the picture is. Lengths, products and
    softmax are computed in float32: they are sums over all pixels.

    Args:
        channels: c.
        heads: how many groups the channels are cut into; divides c.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        c = channels
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(c, 3 * c, 1, bias=False)
        self.qkv_dwconv = depthwise(3 * c)
        self.project_out = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv_dwconv(self.qkv(x))
        with without_autocast(x):
            read = attend_channels(qkv, self.temperature)
        projected: Tensor = self.project_out(read)
        return projected


def attend_channels(qkv: Tensor, temperature: Tensor) -> Tensor:
    """What the channels read: queries, keys and values [B, 3c, H, W], temperature [heads, 1, 1] -> [B, c, H, W]."""
    heads, height, width = temperature.shape[0], *qkv.shape[2:]
    query, key, value = (part.reshape(part.shape[0], heads, -1, height * width) for part in qkv.chunk(3, dim=1))
    scores = F.normalize(query.float(), dim=-1) @ F.normalize(key.float(), dim=-1).transpose(2, 3)
    weights = torch.softmax(scores * temperature.float(), dim=-1).to(value.dtype)
    read: Tensor = weights @ value
    return read.reshape(qkv.shape[0], -1, height, width)


class GatedFeedForward(nn.Module):
    """1x1 -> dw3x3 -> gelu(first half) * second half -> 1x1: [B, c, H, W] -> the same shape. GDFN, equation 2.

    Args:
        channels: c.
        expand: channels of one half over c, rounded down.
    """

    def __init__(self, channels: int, expand: float) -> None:
        super().__init__()
        hidden = int(channels * expand)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = depthwise(2 * hidden)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        projected: Tensor = self.project_out(F.gelu(first) * second)
        return projected


class TransformerBlock(nn.Module):
    """Attention and feed-forward half, both residual: [B, c, H, W] -> [B, c, H, W]."""

    def __init__(self, channels: int, heads: int, expand: float) -> None:
        super().__init__()
        self.norm1 = _named(body=LayerNorm2d(channels, EPS))
        self.attn = TransposedAttention(channels, heads)
        self.norm2 = _named(body=LayerNorm2d(channels, EPS))
        self.ffn = GatedFeedForward(channels, expand)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.ffn(self.norm2(x))
        return result


class Restormer(nn.Module):
    """Restores a picture: [B, channels, H, W] in [0, 1] -> the same shape.

    H and W must be multiples of `config.size_multiple`. The finest decoder level and the refinement keep twice the
    width, as nothing reduces the channels of their skip.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, self.levels = config.width, len(config.encoder_blocks)

        def stage(channels: int, level: int, blocks: int) -> nn.Sequential:
            heads = config.heads[level - 1]
            return nn.Sequential(*[TransformerBlock(channels, heads, config.ffn_expand) for _ in range(blocks)])

        self.patch_embed = _named(proj=nn.Conv2d(config.channels, c, 3, padding=1, bias=False))
        for level, blocks in enumerate(config.encoder_blocks, 1):
            self.add_module(f"encoder_level{level}", stage(c, level, blocks))
            self.add_module(f"down{level}_{level + 1}", _resize(c, c // 2, nn.PixelUnshuffle(2)))
            c *= 2
        self.latent = stage(c, self.levels + 1, config.middle_blocks)
        for level, blocks in zip(range(self.levels, 0, -1), config.decoder_blocks, strict=True):
            self.add_module(f"up{level + 1}_{level}", _resize(c, 2 * c, nn.PixelShuffle(2)))
            if level > 1:
                self.add_module(f"reduce_chan_level{level}", nn.Conv2d(c, c // 2, 1, bias=False))
                c //= 2
            self.add_module(f"decoder_level{level}", stage(c, level, blocks))
        self.refinement = stage(c, 1, config.refinement_blocks)
        self.output = nn.Conv2d(c, config.channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        part = self.get_submodule
        features, skips = self.patch_embed(x), []
        for level in range(1, self.levels + 1):
            features = part(f"encoder_level{level}")(features)
            skips.append(features)
            features = part(f"down{level}_{level + 1}")(features)
        features = self.latent(features)
        for level in range(self.levels, 0, -1):
            features = torch.cat([part(f"up{level + 1}_{level}")(features), skips.pop()], dim=1)
            if level > 1:
                features = part(f"reduce_chan_level{level}")(features)
            features = part(f"decoder_level{level}")(features)
        restored: Tensor = self.output(self.refinement(features)) + x
        return restored


def _resize(channels: int, convolved: int, shuffle: nn.Module) -> nn.Sequential:
    """A 3x3 conv, then pixels into channels or channels into pixels."""
    return _named(body=nn.Sequential(nn.Conv2d(channels, convolved, 3, padding=1, bias=False), shuffle))
