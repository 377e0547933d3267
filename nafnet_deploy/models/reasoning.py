"""The reasoning unit: one set of weights, run N times over the same features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.models.attention import KINDS
from nafnet_deploy.models.blocks import NAFNET, NAFBlock, Parts
from nafnet_deploy.models.do_conv import spatial_conv
from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d


class ReasoningUnit(nn.Module):
    """Refines features [B, c, H, W] over N iterations while carrying a knowledge base of the same shape.

    One iteration reads the current features h and the knowledge k that the previous iteration left::

        z  = gate(dw3x3(1x1(LN([h, k]))))              2c -> 2c -> c; a plain activation 2c -> c -> c
        z  = shared NAFBlocks(z * attention(z))
        r, u = 1x1(z)                                  new reasoning, update gate
        k' = k + sigmoid(u) * (r - k)
        h' = x + k'                                    x: what entered the unit

    k starts at zero. The gate decides per channel and pixel how much of the new reasoning enters; the
    residual ties every result to the unit's input, so a further iteration refines instead of drifting.
    """

    def __init__(self, channels: int, blocks: int = 1, dropout: float = 0.0, parts: Parts = NAFNET) -> None:
        super().__init__()
        c = channels
        self.norm = LayerNorm2d(2 * c)
        self.sg = Gate(parts.gate)
        mixed = self.sg.factor * c
        self.fuse = nn.Conv2d(2 * c, mixed, 1)
        self.mix = spatial_conv(parts.do_conv, mixed, mixed, 3, padding=1, groups=mixed)
        self.sca = KINDS[parts.attention][1](c)
        self.blocks = nn.Sequential(*[NAFBlock(c, dropout, parts) for _ in range(blocks)])
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
