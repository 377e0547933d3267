"""The parts of the all-in-one network in deployment form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.export.attention import Attend, global_mean
from nafnet_deploy.export.norms import ChannelNorm, Gated, absorb_norm
from nafnet_deploy.export.transformer import exchange_halves
from nafnet_deploy.models.all_in_one_parts import GatedBlock, LowRankConv, RefinementGate, over_channels
from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d
from nafnet_deploy.models.restormer import attend_channels


class WideGate(Gate):
    """A Gate whose activation is computed in float32; see `WideGELU`."""

    def activate(self, x: Tensor) -> Tensor:
        return super().activate(x.float()).to(x.dtype)


class LowRank(nn.Module):
    """A LowRankConv without its last conv, which may be cut: [B, c_in, H, W] -> [B, r, H, W].

    Args:
        conv: in training form.
        norm: the LayerNorm before it, whose affine part goes inside; None where there is none.
    """

    def __init__(self, conv: LowRankConv, norm: LayerNorm2d | None = None) -> None:
        super().__init__()
        self.down = conv.down if norm is None else absorb_norm(norm, conv.down)
        self.before, self.after = conv.before, conv.after
        self.norm = ChannelNorm(conv.norm)
        # Before a GELU there is no conv that could take the affine part: it stays, in float32 like the norm itself.
        self.scale, self.shift = (
            nn.Parameter(part.detach().reshape(1, -1, 1, 1).clone()) for part in (conv.norm.weight, conv.norm.bias)
        )
        self.attend = Attend(conv.context, conv.up.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        z = self.before(self.down(x.to(self.down.weight.dtype)))
        active = F.gelu(self.norm(z) * self.scale + self.shift)
        attended: Tensor = self.attend(self.after(active.to(z.dtype)))
        return attended


class FoldedGatedBlock(nn.Module):
    """A GatedBlock with its norms inside its convs: [B, c, H, W] -> [B, c, H, W].

    Lengths and products of queries and keys, the softmax, norms and means are float32 whatever the type of the convs.
    """

    def __init__(self, block: GatedBlock) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(block.norm1), ChannelNorm(block.norm2)
        self.read = LowRank(block.attn.qkvg, block.norm1)
        self.qkv, self.gate = _cut(block.attn.qkvg.up, 3 * block.attn.project_out.in_channels)
        self.temperature = block.attn.temperature
        self.project = block.attn.project_out
        self.widen = LowRank(block.ffn.project_in, block.norm2)
        # The feed-forward half activates its first half and a Gate its second one: they change places.
        self.feed = Gated(WideGate("geglu"), nn.Identity(), exchange_halves(block.ffn.project_in.up))
        self.narrow = LowRank(block.ffn.project_out)
        self.close = block.ffn.project_out.up

    def forward(self, x: Tensor) -> Tensor:
        z = self.read(self.norm1(x))
        x = x + self.project(attend_channels(self.qkv(z), self.temperature) * torch.sigmoid(self.gate(z)))
        closed: Tensor = self.close(self.narrow(self.feed(self.widen(self.norm2(x)))))
        return x + closed


class FoldedRefinement(nn.Module):
    """A RefinementGate: with a task, its expert's scales are constants and no router is left in the graph."""

    def __init__(self, gate: RefinementGate) -> None:
        super().__init__()
        self.channel, self.spatial = gate.channel, gate.spatial
        if gate.chosen is None:
            self.router, self.experts = gate.router, gate.experts
        else:
            self.expert = nn.Parameter(gate.experts.weight.detach()[None, :, gate.chosen].clone())
        self.inferred = gate.chosen is None

    def forward(self, x: Tensor, tasks: None = None) -> Tensor:
        """Refines `x`; a graph has one input, so the task of each picture is no argument any more."""
        mean = global_mean(x)
        scale = torch.sigmoid(self.channel(mean) + self.channel(x.amax(dim=(2, 3), keepdim=True)))
        if self.inferred:
            scale = scale * self.experts(torch.softmax(self.router(mean).float(), dim=1).to(mean.dtype))
        else:
            scale = (scale * self.expert).to(scale.dtype)
        return x + x * scale * torch.sigmoid(self.spatial(over_channels(x)))


def _cut(conv: nn.Conv2d, place: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two 1x1 convs without bias that give the output channels before and from `place` on."""
    parts = []
    for rows in (slice(None, place), slice(place, None)):
        weight = conv.weight.detach()[rows].clone()
        part = nn.Conv2d(conv.in_channels, weight.shape[0], 1, bias=False)
        part.weight = nn.Parameter(weight)
        parts.append(part)
    return parts[0], parts[1]
