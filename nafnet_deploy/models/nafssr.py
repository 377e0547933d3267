"""NAFSSR: stereo super-resolution (Chu et al., "NAFSSR: Stereo Image Super-Resolution Using NAFNet", CVPRW 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.blocks import NAFBlock, Parts
from nafnet_deploy.models.layers import Enlarge, LayerNorm2d

MOST_SCORES = 2**26
"""Most attention scores held at once (256 MiB in float32); a larger picture is worked through in bands of rows."""


class StereoAttention(nn.Module):
    """Each view reads along its rows from the other: views [2 B, c, H, W], the left ones first, -> the same.

    ::

        A     = Q_l Q_r^T / sqrt(c)           per row, [W, W]; Q = 1x1(LN(x))
        left  = left  + beta  * softmax(A) V_r
        right = right + gamma * softmax(A^T) V_l        V = 1x1(x)

    SCAM of the paper, equations 4 to 6, with the published parameter names. beta and gamma start at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.norm_l, self.norm_r = LayerNorm2d(c), LayerNorm2d(c)
        self.l_proj1, self.r_proj1 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.l_proj2, self.r_proj2 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, views: Tensor) -> Tensor:
        left, right = both(views)
        scale = left.shape[1] ** -0.5
        queries = self.l_proj1(self.norm_l(left)) * scale, self.r_proj1(self.norm_r(right))
        values = self.l_proj2(left), self.r_proj2(right)
        batch, _, height, width = left.shape
        rows = max(1, MOST_SCORES // (batch * width * width))
        bands = [
            attend_rows(*(part[:, :, top : top + rows] for part in (*queries, *values)))
            for top in range(0, height, rows)
        ]
        to_left, to_right = (torch.cat(side, dim=1).permute(0, 3, 1, 2) for side in zip(*bands, strict=True))
        return torch.cat([left + to_left * self.beta, right + to_right * self.gamma])


def attend_rows(query_l: Tensor, query_r: Tensor, value_l: Tensor, value_r: Tensor) -> tuple[Tensor, Tensor]:
    """What the left view reads from the right one, and the reverse: four [B, c, H, W] -> two [B, H, W, c]."""
    scores = query_l.permute(0, 2, 3, 1) @ query_r.permute(0, 2, 1, 3)  # [B, H, W of the left, W of the right]
    return read_rows(scores, value_r), read_rows(scores.transpose(2, 3), value_l)


def read_rows(scores: Tensor, values: Tensor) -> Tensor:
    """The means of `values` [B, c, H, W] along each row, weighted by the softmax of scores [B, H, W, W].

    Returns:
        [B, H, W, c]; the softmax is taken in float32.
    """
    weights = torch.softmax(scores.float(), dim=-1).to(values.dtype)
    return weights @ values.permute(0, 2, 3, 1)


def both(views: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right, each [B, ...], of views [2 B, ...].

    By slices: of a batch whose size is not known the exporter makes a sequence where it meets `chunk`.
    """
    pairs = views.shape[0] // 2
    return views[:pairs], views[pairs:]


class StereoBlock(nn.Module):
    """A NAFBlock for both views, then the attention between them: [2 B, c, H, W] -> the same."""

    def __init__(self, channels: int, dropout: float, parts: Parts) -> None:
        super().__init__()
        self.blk = NAFBlock(channels, dropout, parts)
        self.fusion = StereoAttention(channels)

    def forward(self, views: Tensor) -> Tensor:
        fused: Tensor = self.fusion(self.blk(views))
        return fused


class NAFSSR(nn.Module):
    """Enlarges a stereo pair: [B, 2 C, H, W], the left view's channels before the right's -> [B, 2 C, s H, s W].

    One body serves both views, which go through it in one batch. Parameter names are those of the published
    checkpoints, in which a wrapper for stochastic depth stands around every block (`module`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, parts = config.width, Parts.of(config)
        self.intro = nn.Conv2d(config.channels, c, 3, padding=1)
        self.body = nn.ModuleList(
            nn.ModuleDict({"module": StereoBlock(c, config.dropout, parts)}) for _ in range(config.middle_blocks)
        )
        self.up = nn.Sequential(
            nn.Conv2d(c, config.channels * config.scale**2, 3, padding=1), nn.PixelShuffle(config.scale)
        )
        self.enlarge = Enlarge(config.planes, config.scale)

    def forward(self, x: Tensor) -> Tensor:
        views: Tensor = self.intro(torch.cat(x.chunk(2, dim=1)))
        for block in self.body:
            views = block["module"](views)  # type: ignore[index]
        details: Tensor = self.up(views)
        enlarged: Tensor = self.enlarge(x)
        return torch.cat(both(details), dim=1) + enlarged
