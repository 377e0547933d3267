"""Rewrites a trained network into the form that engines run fastest, exactly.

Six identities, none of which changes what is computed beyond rounding:

- LayerNorm's scale g and shift b go into the 1x1 conv behind it: W (g * x + b) + d = (W diag(g)) x + (W b + d).
- beta and gamma, which scale a residual, go into the conv before them: beta * (W y + d) = (diag(beta) W) y + beta d.
- a DO-Conv is a plain conv whose kernel is the product of its two factors.
- a conv followed by a gate is cut into two convs, one per half, whose outputs are multiplied (the second after its
  activation): no Split node, which ONNX Runtime's blocked convolution layout would have to leave and enter again.
- what a reasoning unit reads splits into a part that iterations change and one that they share (see `FoldedUnit`).
- the residual trunk is turned so that no norm has to subtract a mean (see `reflect`).

A module computes in the dtype of its convs: features are cast where they enter it, and statistics are taken in
float32 (see `precision`). In a float32 network none of this leaves a trace.

What a norm sums over channels is written as a 1x1 conv for the same reason (see `ChannelNorm`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from nafnet_deploy.export.all_in_one import FoldedGatedBlock, FoldedRefinement
from nafnet_deploy.export.blocks import FoldedBlock, FoldedUnit
from nafnet_deploy.export.enlarge import ConvEnlarge
from nafnet_deploy.export.frequency import MatrixMagnitude, MatrixSkip
from nafnet_deploy.export.norms import halves
from nafnet_deploy.export.reflect import reflect
from nafnet_deploy.export.stereo import FoldedAttention
from nafnet_deploy.export.transformer import FoldedTransformer
from nafnet_deploy.models.all_in_one_parts import GatedBlock, RefinementGate
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.do_conv import DOConv2d
from nafnet_deploy.models.frequency import FrequencySkip, MagnitudeInput
from nafnet_deploy.models.layers import Enlarge
from nafnet_deploy.models.nafssr import StereoAttention
from nafnet_deploy.models.reasoning import ReasoningUnit
from nafnet_deploy.models.restormer import TransformerBlock


def fold(network: nn.Module) -> nn.Module:
    """A copy of `network` in deployment form; same inputs, same outputs up to rounding, for inference only."""
    folded = copy.deepcopy(network).eval()
    _multiply_out(folded)
    _replace(folded)
    reflect(folded)
    return folded.requires_grad_(False)


def _multiply_out(module: nn.Module) -> None:
    """Makes every DO-Conv a plain conv, before anything else looks at the convs."""
    for name, child in module.named_children():
        if isinstance(child, DOConv2d):
            setattr(module, name, child.plain())
        else:
            _multiply_out(child)


FORMS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    NAFBlock: FoldedBlock,
    ReasoningUnit: FoldedUnit,
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
