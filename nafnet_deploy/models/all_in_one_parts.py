"""What the all-in-one network has beyond Restormer. All tensors are [batch, channels, height, width]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.config import INFER, LEAST_RANK, TASKS, ModelConfig, rank
from nafnet_deploy.models.attention import bottleneck
from nafnet_deploy.models.layers import GlobalMean, LayerNorm2d, without_autocast
from nafnet_deploy.models.restormer import EPS, attend_channels, depthwise


def mean_gate(channels: int, share: int) -> nn.Sequential:
    """A gate of the channels by their means, through `channels / share` of them: [B, c, H, W] -> [B, c, 1, 1].

    GELU between: means differ little from picture to picture, and a ReLU may be 0, with no slope, for all of them.
    """
    return bottleneck(channels, max(LEAST_RANK, channels // share), WideGELU())


class WideGELU(nn.Module):
    """GELU in float32, whatever the input's type: in half even its constants would be rounded, block after block."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x.float()).to(x.dtype)


class LowRankConv(nn.Module):
    """A spatial conv through fewer channels: [B, c_in, H, W] -> [B, c_out, H, W]. "Spatial-aware LoRA" of the study.

    ::

        z = dw3x3(gelu(norm(dw3x3(1x1(x)))))      r channels, r = rank(min(c_in, c_out), ratio)
        y = 1x1(g * z)                            g = sigmoid(1x1(gelu(1x1(mean(z))))), r / 8 channels between

    It stands in the place of a 1x1 conv and the depthwise 3x3 beside it, and has fewer weights than they where
    r < c_in c_out / (c_in + c_out).

    Args:
        channels: c_in.
        out: c_out.
        ratio: rank over the fewer channels, in (0, 1].
    """

    def __init__(self, channels: int, out: int, ratio: float) -> None:
        super().__init__()
        r = rank(min(channels, out), ratio)
        self.down = nn.Conv2d(channels, r, 1, bias=False)
        self.before = depthwise(r)
        self.norm = LayerNorm2d(r, EPS)
        self.after = depthwise(r)
        self.context = mean_gate(r, 8)
        self.up = nn.Conv2d(r, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.after(F.gelu(self.norm(self.before(self.down(x)))))
        raised: Tensor = self.up(z * self.context(z))
        return raised


class GatedAttention(nn.Module):
    """Restormer's attention over channels, its output gated pixel by pixel: [B, c, H, W] -> the same shape.

    ::

        Q, K, V, G = LowRankConv(x)
        y          = 1x1(sigmoid(G) * (softmax(t * norm(Q) norm(K)^T) V))

    Args:
        channels: c.
        heads: how many groups the channels are cut into; divides c.
        ratio: of the low-rank conv.
    """

    def __init__(self, channels: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkvg = LowRankConv(channels, 4 * channels, ratio)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        *qkv, gate = self.qkvg(x).chunk(4, dim=1)
        with without_autocast(x):
            read = attend_channels(torch.cat(qkv, dim=1), self.temperature)
        projected: Tensor = self.project_out(read * torch.sigmoid(gate))
        return projected


class LowRankFeedForward(nn.Module):
    """gelu(first half) * second half between two low-rank convs: [B, c, H, W] -> the same shape.

    Args:
        channels: c.
        expand: channels of one half over c, rounded down.
        ratio: of the low-rank convs.
    """

    def __init__(self, channels: int, expand: float, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * expand)
        self.project_in = LowRankConv(channels, 2 * hidden, ratio)
        self.project_out = LowRankConv(hidden, channels, ratio)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.project_in(x).chunk(2, dim=1)
        projected: Tensor = self.project_out(F.gelu(first) * second)
        return projected


class GatedBlock(nn.Module):
    """Gated attention and low-rank feed-forward half, both residual: [B, c, H, W] -> [B, c, H, W]."""

    def __init__(self, channels: int, heads: int, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(channels, EPS)
        self.attn = GatedAttention(channels, heads, config.lora_attention)
        self.norm2 = LayerNorm2d(channels, EPS)
        self.ffn = LowRankFeedForward(channels, config.ffn_expand, config.lora_ffn)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.ffn(self.norm2(x))
        return result


class RefinementGate(nn.Module):
    """DFRG: refines features by gates over channels, over pixels and by task: [B, c, H, W] -> the same shape.

    ::

        y = x + x * channel * spatial * expert
        channel = sigmoid(m(mean(x)) + m(max(x)))            [B, c, 1, 1]; m: 1x1 to c / 4, ReLU, 1x1
        spatial = sigmoid(7x7(mean and max over channels))   [B, 1, H, W]
        expert  = sum of the experts' scales by their share  [B, c, 1, 1]

    The shares are 1 for the task that is given and 0 for the others, or what a router infers:
    softmax(1x1(mean(x))). The scales start at 1, each somewhat different, so that the router has a slope to follow.

    Args:
        channels: c.
        expert: one of `TASKS`, or `infer`; what counts where `forward` is given no task.
    """

    def __init__(self, channels: int, expert: str) -> None:
        super().__init__()
        between = max(LEAST_RANK, channels // 4)
        self.mean = GlobalMean()
        self.channel = nn.Sequential(nn.Conv2d(channels, between, 1), nn.ReLU(), nn.Conv2d(between, channels, 1))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)
        self.router = nn.Conv2d(channels, len(TASKS), 1)
        self.experts = nn.Conv2d(len(TASKS), channels, 1, bias=False)
        nn.init.normal_(self.experts.weight, 1.0, 0.1)
        self.chosen = None if expert == INFER else TASKS.index(expert)

    def forward(self, x: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Refines `x`; `tasks` [B] holds places in `TASKS`, below 0 where the task is to be inferred."""
        mean = self.mean(x)
        channel = torch.sigmoid(self.channel(mean) + self.channel(x.amax(dim=(2, 3), keepdim=True)))
        spatial = torch.sigmoid(self.spatial(over_channels(x)))
        refined: Tensor = x + x * (channel * self.experts(self._shares(mean, tasks))) * spatial
        return refined

    def _shares(self, mean: Tensor, tasks: Tensor | None) -> Tensor:
        """How much each expert counts, [B, tasks, 1, 1]."""
        inferred = torch.softmax(self.router(mean).float(), dim=1).to(mean.dtype)
        if tasks is None and self.chosen is None:
            return inferred
        if tasks is None:
            tasks = torch.tensor([self.chosen], device=mean.device)
        given = F.one_hot(tasks.clamp(min=0), len(TASKS)).to(mean.dtype)[:, :, None, None]
        return torch.where((tasks >= 0)[:, None, None, None], given, inferred)


def over_channels(x: Tensor) -> Tensor:
    """Mean and largest value over the channels of every pixel, the mean in float32: [B, c, H, W] -> [B, 2, H, W]."""
    return torch.cat([x.float().mean(dim=1, keepdim=True).to(x.dtype), x.amax(dim=1, keepdim=True)], dim=1)


class SkipFusion(nn.Module):
    """CSFF: fuses the features of decoder and skip: two [B, c, H, W] -> [B, c, H, W].

    ::

        f = 1x1(cat(features, skip))
        y = features + f + g * z      z = 3x3(gelu(3x3(f))), c / 2 channels between; g as in a LowRankConv, c / 4

    Args:
        channels: c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.merge = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.first = nn.Conv2d(channels, half, 3, padding=1, bias=False)
        self.active = WideGELU()
        self.second = nn.Conv2d(half, channels, 3, padding=1, bias=False)
        self.gate = mean_gate(channels, 4)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        fused = self.merge(torch.cat([features, skip], dim=1))
        z = self.second(self.active(self.first(fused)))
        result: Tensor = features + fused + self.gate(z) * z
        return result
