"""Rewrites a trained network into the form that engines run fastest, exactly.

Four identities, none of which changes what is computed beyond rounding:

- LayerNorm's scale g and shift b go into the 1x1 conv behind it: W (g * x + b) + d = (W diag(g)) x + (W b + d).
- beta and gamma, which scale a residual, go into the conv before them: beta * (W y + d) = (diag(beta) W) y + beta d.
- a DO-Conv is a plain conv whose kernel is the product of its two factors.
- a conv followed by a gate is cut into two convs, one per half, whose outputs are multiplied (the second after its
  activation): no Split node, which ONNX Runtime's blocked convolution layout would have to leave and enter again.

A module computes in the dtype of its convs: features are cast where they enter it, and statistics are taken in
float32 (see `precision`). In a float32 network none of this leaves a trace.

The channel mean inside LayerNorm is written as a 1x1 conv with weights 1/c for the same reason; it is faster than a
reduction over channels on ONNX Runtime and takes less memory than the LayerNormalization operator with its transposes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nafnet_deploy.export.all_in_one import FoldedGatedBlock, FoldedRefinement
from nafnet_deploy.export.attention import Attend
from nafnet_deploy.export.enlarge import ConvEnlarge
from nafnet_deploy.export.frequency import MatrixMagnitude, MatrixSkip
from nafnet_deploy.export.norms import ChannelNorm, Gated, halves, scale_output
from nafnet_deploy.export.stereo import FoldedAttention
from nafnet_deploy.export.transformer import FoldedTransformer
from nafnet_deploy.models.all_in_one_parts import GatedBlock, RefinementGate
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.do_conv import DOConv2d
from nafnet_deploy.models.frequency import FrequencySkip, MagnitudeInput
from nafnet_deploy.models.layers import Enlarge, LayerNorm2d
from nafnet_deploy.models.nafssr import StereoAttention
from nafnet_deploy.models.reasoning import ReasoningUnit
from nafnet_deploy.models.restormer import TransformerBlock


def fold(network: nn.Module) -> nn.Module:
    """A copy of `network` in deployment form; same inputs, same outputs up to rounding, for inference only."""
    folded = copy.deepcopy(network).eval()
    _multiply_out(folded)
    _replace(folded)
    return folded.requires_grad_(False)


def _multiply_out(module: nn.Module) -> None:
    """Makes every DO-Conv a plain conv, before anything else looks at the convs."""
    for name, child in module.named_children():
        if isinstance(child, DOConv2d):
            setattr(module, name, child.plain())
        else:
            _multiply_out(child)


FORMS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    NAFBlock: lambda block: FoldedBlock(block),
    ReasoningUnit: lambda unit: FoldedUnit(unit),
    FrequencySkip: lambda skip: MatrixSkip(skip, halves(skip.second)),
    MagnitudeInput: lambda part: MatrixMagnitude(),
    StereoAttention: FoldedAttention,
    TransformerBlock: FoldedTransformer,
    GatedBlock: FoldedGatedBlock,
    RefinementGate: FoldedRefinement,
    Enlarge: ConvEnlarge,
}
"""The deployment form of every part that has one."""


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) in FORMS:
            setattr(module, name, FORMS[type(child)](child))
        else:
            _replace(child)


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
