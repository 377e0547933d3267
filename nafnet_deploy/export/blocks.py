"""The NAFBlock and the reasoning unit in deployment form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.export.attention import Attend
from nafnet_deploy.export.norms import ChannelNorm, Gated, halves, scale_output
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.layers import LayerNorm2d
from nafnet_deploy.models.reasoning import ReasoningUnit


class FoldedBlock(nn.Module):
    """A NAFBlock in deployment form: [B, c, H, W] -> [B, c, H, W]."""

    def __init__(self, block: NAFBlock) -> None:
        super().__init__()
        self.norm1, self.norm2 = (
            ChannelNorm(n) if isinstance(n, LayerNorm2d) else n for n in (block.norm1, block.norm2)
        )
        self.mix = Gated(block.sg, block.norm1, block.conv1, block.conv2)
        self.attend = Attend(block.attention, block.conv3.in_channels)
        self.project = scale_output(block.conv3, block.beta)
        self.feed = Gated(block.sg, block.norm2, block.conv4)
        self.close = scale_output(block.conv5, block.gamma)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.norm1(x))
        x = x + self.project(self.attend(y))
        closed: Tensor = self.close(self.feed(self.norm2(x)))
        return x + closed


class FoldedUnit(nn.Module):
    """A ReasoningUnit in deployment form; the same two methods."""

    def __init__(self, unit: ReasoningUnit) -> None:
        super().__init__()
        self.norm = ChannelNorm(unit.norm)
        self.mix = Gated(unit.sg, unit.norm, unit.fuse, unit.mix)
        self.attend = Attend(unit.sca, unit.update.in_channels)
        self.blocks = nn.Sequential(*[FoldedBlock(b) for b in unit.blocks if isinstance(b, NAFBlock)])
        self.reasoning, self.gate = halves(unit.update)
        self.state: torch.dtype | None = None
        """Type of the knowledge carried between iterations; None for that of the features."""

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """One iteration: (input, features, knowledge) -> (features, knowledge)."""
        z = self.mix(self.norm(torch.cat([h.to(k.dtype), k], dim=1)))
        z = self.blocks(self.attend(z).to(x.dtype))
        k = k + torch.sigmoid(self.gate(z)) * (self.reasoning(z) - k)
        return (x.to(k.dtype) + k).to(x.dtype), k

    def forward(self, x: Tensor, iterations: int) -> list[Tensor]:
        """The features after each of `iterations` iterations, first to last."""
        h, k = x, torch.zeros_like(x, dtype=self.state)
        results = []
        for _ in range(iterations):
            h, k = self.step(x, h, k)
            results.append(h)
        return results
