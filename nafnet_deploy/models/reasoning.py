"""The reasoning unit: one set of weights, run N times over the same features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.layers import GlobalMean, LayerNorm2d, SimpleGate


class ReasoningUnit(nn.Module):
    """Refines features [B, c, H, W] over N iterations while carrying a knowledge base of the same shape.

    One iteration reads the current features h and the knowledge k that the previous iteration left::

        z  = SimpleGate(dw3x3(1x1(LN([h, k]))))        2c -> 2c -> c
        z  = shared NAFBlocks(z * SCA(z))
        r, u = 1x1(z)                                  new reasoning, update gate
        k' = k + sigmoid(u) * (r - k)
        h' = x + k'                                    x: what entered the unit

    k starts at zero. The gate decides per channel and pixel how much of the new reasoning enters; the
    residual ties every result to the unit's input, so a further iteration refines instead of drifting.
    """

    def __init__(self, channels: int, blocks: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        c = channels
        self.norm = LayerNorm2d(2 * c)
        self.fuse = nn.Conv2d(2 * c, 2 * c, 1)
        self.mix = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(GlobalMean(), nn.Conv2d(c, c, 1))
        self.blocks = nn.Sequential(*[NAFBlock(c, dropout) for _ in range(blocks)])
        self.update = nn.Conv2d(c, 2 * c, 1)

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """One iteration: (input, features, knowledge) -> (features, knowledge)."""
        z = self.sg(self.mix(self.fuse(self.norm(torch.cat([h, k], dim=1)))))
        z = self.blocks(z * self.sca(z))
        reasoning, gate = self.update(z).chunk(2, dim=1)
        k = k + torch.sigmoid(gate) * (reasoning - k)
        return x + k, k

    def forward(self, x: Tensor, iterations: int) -> list[Tensor]:
        """The features after each of `iterations` iterations, first to last."""
        h, k = x, torch.zeros_like(x)
        results = []
        for _ in range(iterations):
            h, k = self.step(x, h, k)
            results.append(h)
        return results
