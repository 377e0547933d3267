"""The folded network in half precision, with islands of float32 where half would lose the picture.

The network itself is made half and exported; no converter touches the graph. A module computes in the dtype of its
convs (see `fold`), so precision is decided here alone, branch by branch. What always stays in float32:

- LayerNorm's statistics: the squared deviation of features of 300 already passes 65504, half's largest number;
- global means: the sum of 256x256 values of 1 passes it too;
- Fourier transforms and the convs between them, for the same reason;
- the softmax of an attention, whose weights must sum to 1, and where it runs over channels the lengths and products
  before it, which are sums over a picture;
- input, output and the global skip between them, so that the picture itself is never rounded.

The residual trunk and the state carried between iterations are half by default: measured over N = 1 to 5 their
rounding does not add up (the error is the same at every N, within 0.2 dB; a float32 state changes nothing, a float32
trunk gains 0.3 dB of 77 on a trained light network and 4 dB of 76 on a medium one with random weights). Two things
widen the islands: the range scan (`ranges`), where a network's own values come near the limit, and a trial, where a
trunk is so long that its rounding does add up (NAFSSR-L, 128 blocks, random weights: 54 dB, and 67 with its trunk in
float32).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from nafnet_deploy.export.ranges import PICTURE, STATE, TRUNK, Ranges, branches, members
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.registry import pictures

STANDARD_ISLANDS = {
    "LayerNorm statistics": "the square of a deviation of 256 already passes 65504",
    "global means": "the sum over a picture passes 65504",
    "attention weights": "they must sum to 1, and those of channels come from sums over a picture; not all networks "
    "have any",
    "Fourier transforms and the convs between them": "the sum over a picture passes 65504; not all networks have any",
    "input, output and global skip": "the picture itself must not be rounded to half",
}
"""What is float32 in every half graph, and why."""


@dataclasses.dataclass(frozen=True)
class HalfPlan:
    """Which parts of a half network stay in float32, besides the standard islands."""

    trunk: bool
    """Whether the residual trunk is float32; the carried state then is too."""
    state: bool
    """Whether the state carried between iterations is float32."""
    reasons: dict[str, str]
    """Every part that stays in float32 beyond the standard islands, and why."""

    @property
    def islands(self) -> dict[str, str]:
        """Everything that stays in float32, and why."""
        return {**STANDARD_ISLANDS, **self.reasons}


def plan_half(ranges: Ranges, trunk: str = "") -> HalfPlan:
    """Widens the islands to every part whose values come near half's largest number.

    Args:
        ranges: what the scan of the network found.
        trunk: why trunk and state stay in float32 whatever was found; empty where that is left to the ranges.
    """
    reasons = ranges.dangers()
    if trunk:
        reasons.setdefault(TRUNK, trunk)
    if TRUNK in reasons and STATE in ranges.peaks:
        reasons.setdefault(STATE, f"it is added to the {TRUNK}")
    return HalfPlan(trunk=TRUNK in reasons, state=STATE in reasons, reasons=reasons)


@torch.inference_mode()
def agreement(folded: nn.Module, plan: HalfPlan, x: Tensor, iterations: int) -> float:
    """Least PSNR over the iterations between a folded network and its half copy, both run by PyTorch on the CPU.

    Args:
        folded: what `fold` returned.
        plan: what stays in float32.
        x: pictures [B, C, H, W].
        iterations: reasoning iterations.

    Returns:
        dB; NaN where the half copy overflows.
    """
    pairs = zip(pictures(folded, x, iterations), pictures(to_half(folded, plan), x, iterations), strict=True)
    return float(np.min([psnr(half.numpy(), full.numpy()) for full, half in pairs]))


class Recast(nn.Module):
    """A conv between two types: casts its input to the type of its weights and its output to `dtype`."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv, self.dtype = conv, dtype

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x.to(self.conv.weight.dtype))
        return result.to(self.dtype)


def to_half(folded: nn.Module, plan: HalfPlan) -> nn.Module:
    """A half copy of a folded network; float32 pictures in, float32 pictures out, for export only.

    Args:
        folded: what `fold` returned.
        plan: what stays in float32.
    """
    network = copy.deepcopy(folded)
    for conv in _half_convs(network, plan):
        conv.half()
    trunk, state = (torch.float32 if wide else torch.float16 for wide in (plan.trunk, plan.state))
    kinds = {TRUNK: trunk, STATE: state, PICTURE: torch.float32}
    for name, branch in branches(network).items():
        if isinstance(branch.module, nn.Conv2d):
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, Recast(branch.module, kinds[branch.feeds]))
    return network


def round_weights(folded: nn.Module, plan: HalfPlan) -> nn.Module:
    """A float32 copy of a folded network that holds the weights of its half copy, rounded."""
    network = copy.deepcopy(folded)
    for conv in _half_convs(network, plan):
        conv.half().float()
    return network


def _half_convs(network: nn.Module, plan: HalfPlan) -> Iterator[nn.Conv2d]:
    for name, module in members(network):
        if isinstance(module, nn.Conv2d) and name not in plan.reasons:
            yield module
