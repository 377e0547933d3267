"""Rewrites a trained network into the form that engines run fastest, exactly.

Three identities, none of which changes what is computed beyond rounding:

- LayerNorm's scale g and shift b go into the 1x1 conv behind it: W (g * x + b) + d = (W diag(g)) x + (W b + d).
- beta and gamma, which scale a residual, go into the conv before them: beta * (W y + d) = (diag(beta) W) y + beta d.
- a conv followed by a gate is cut into two convs, one per half, whose outputs are multiplied (the second after its
  activation): no Split node, which ONNX Runtime's blocked convolution layout would have to leave and enter again.

A module computes in the dtype of its convs: features are cast where they enter it, and statistics are taken in
float32 (see `precision`). In a float32 network none of this leaves a trace.

The channel mean inside LayerNorm is written as a 1x1 conv with weights 1/c for the same reason; it is faster than a
reduction over channels on ONNX Runtime and takes less memory than the LayerNormalization operator with its transposes.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.export.attention import Attend
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d
from nafnet_deploy.models.reasoning import ReasoningUnit


def fold(network: nn.Module) -> nn.Module:
    """A copy of `network` in deployment form; same inputs, same outputs up to rounding, for inference only."""
    folded = copy.deepcopy(network).eval()
    _replace(folded)
    return folded.requires_grad_(False)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, NAFBlock):
            setattr(module, name, FoldedBlock(child))
        elif isinstance(child, ReasoningUnit):
            setattr(module, name, FoldedUnit(child))
        else:
            _replace(child)


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the channels of every pixel: [B, c, H, W] -> float32 [B, c, H, W].

    Computed in float32 whatever the input's dtype: the squared deviation passes 65504 long before x does.
    """

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        channels = norm.weight.shape[0]
        self.eps = norm.eps
        self.mean = nn.Parameter(torch.full((1, channels, 1, 1), 1 / channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x.float() - F.conv2d(x.float(), self.mean)
        variance = F.conv2d(centred * centred, self.mean)
        return centred * torch.rsqrt(variance + self.eps)


class Gated(nn.Module):
    """Convs in a row and the gate behind them, the two halves of the channels kept apart all the way.

    [B, c_in, H, W] -> [B, c_out / 2, H, W]; with an activation that is no gate, c_out channels and one row of convs.

    Args:
        gate: the activation.
        norm: the norm before the first conv; what is no LayerNorm has nothing to absorb.
        convs: first a 1x1 conv, then depthwise ones.
    """

    def __init__(self, gate: Gate, norm: nn.Module, *convs: nn.Conv2d) -> None:
        super().__init__()
        self.gate = gate
        row = [absorb_norm(norm, convs[0]) if isinstance(norm, LayerNorm2d) else convs[0], *convs[1:]]
        parts = [halves(conv) for conv in row] if gate.halves else [(conv,) for conv in row]
        self.first = nn.Sequential(*[part[0] for part in parts])
        self.second = nn.Sequential(*[part[1] for part in parts if len(part) == 2])

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(next(self.parameters()).dtype)
        first: Tensor = self.first(x)
        return self.gate.combine(first, self.second(x)) if self.gate.halves else self.gate.activate(first)


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


def absorb_norm(norm: LayerNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """The 1x1 `conv` with the affine part of the LayerNorm before it inside."""
    folded = copy.deepcopy(conv)
    weight, bias = conv.weight.detach().double(), _bias(conv).double()
    matrix = weight[:, :, 0, 0]
    folded.weight = nn.Parameter((weight * norm.weight.detach().double().view(1, -1, 1, 1)).float())
    folded.bias = nn.Parameter((bias + matrix @ norm.bias.detach().double()).float())
    return folded


def scale_output(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    """`conv` with its output channels multiplied by `scale` [1, c, 1, 1]."""
    folded = copy.deepcopy(conv)
    factor = scale.detach().double().view(-1)
    folded.weight = nn.Parameter((conv.weight.detach().double() * factor.view(-1, 1, 1, 1)).float())
    folded.bias = nn.Parameter((_bias(conv).double() * factor).float())
    return folded


def halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two convs that compute the first and the second half of the output channels; dense or depthwise."""
    parts = []
    depthwise = conv.groups > 1
    half = conv.out_channels // 2
    for rows in (slice(None, half), slice(half, None)):
        part = nn.Conv2d(
            half if depthwise else conv.in_channels,
            half,
            conv.kernel_size,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            groups=half if depthwise else 1,
        )
        part.weight = nn.Parameter(conv.weight.detach()[rows].clone())
        part.bias = nn.Parameter(_bias(conv)[rows].clone())
        parts.append(part)
    return parts[0], parts[1]


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
