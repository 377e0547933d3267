"""Convs and norms in deployment form: what several folded modules are made of."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the channels of every pixel: [B, c, H, W] -> float32 [B, c, H, W].

    Computed in float32 whatever the input's dtype: the squared deviation passes 65504 long before x does.

    Sums over channels are 1x1 convs with weights 1/c: ONNX Runtime would leave its blocked layout for a reduction, and
    a LayerNormalization operator needs transposes.
    """

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        channels = norm.weight.shape[0]
        self.eps = norm.eps
        self.mean = nn.Parameter(torch.full((1, channels, 1, 1), 1 / channels))
        self.centred = False
        """Whether the input has its mean over the channels in the first of them, the others being free of it."""

    def reflected(self) -> None:
        """Takes what `reflect` makes of the trunk: a first channel that does not count, and no mean to subtract."""
        self.centred = True
        self.mean.data[:, 0] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if not self.centred:
            x = x - F.conv2d(x, self.mean)
        variance = F.conv2d(x * x, self.mean)
        return x * torch.rsqrt(variance + self.eps)


class PairNorm(nn.Module):
    """The statistics of a LayerNorm over h and k, given as p = h + k and the energy of x = h - k; see `FoldedUnit`.

    (p [B, c, H, W], energy [B, 1, H, W]) -> float32 (p without its mean over the channels, factor [B, 1, H, W]).
    """

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        channels = norm.weight.shape[0] // 2
        self.eps = 4 * norm.eps
        self.mean = nn.Parameter(torch.full((1, channels, 1, 1), 1 / channels))

    def energy(self, x: Tensor) -> Tensor:
        """The mean of the squares over the channels, in float32: [B, c, H, W] -> [B, 1, H, W]."""
        wide = x.float()
        return F.conv2d(wide * wide, self.mean)

    def forward(self, p: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        p = p.float()
        p = p - F.conv2d(p, self.mean)
        return p, torch.rsqrt(self.energy(p) + energy + self.eps)


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
            bias=conv.bias is not None,
        )
        part.weight = nn.Parameter(conv.weight.detach()[rows].clone())
        if conv.bias is not None:
            part.bias = nn.Parameter(conv.bias.detach()[rows].clone())
        parts.append(part)
    return parts[0], parts[1]


class Gated(nn.Module):
    """Convs in a row and the gate behind them, the two halves of the channels kept apart all the way.

    [B, c_in, H, W] -> [B, c_out / 2, H, W]; with an activation that is no gate, c_out channels and one row of convs.

    Args:
        gate: the activation.
        norm: the norm before the first conv; what is no LayerNorm has nothing to absorb.
        layers: convs, first a 1x1 one, then depthwise ones.
    """

    def __init__(self, gate: Gate, norm: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        self.gate = gate
        row = [absorb_norm(norm, convs[0]) if isinstance(norm, LayerNorm2d) else convs[0], *convs[1:]]
        parts = [halves(conv) for conv in row] if gate.halves else [(conv,) for conv in row]
        self.first = nn.Sequential(*[part[0] for part in parts])
        self.second = nn.Sequential(*[part[1] for part in parts if len(part) == 2])

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(next(self.parameters()).dtype)
        first: Tensor = self.first(x)
        return self.gate.combine(first, self.second(x)) if self.gate.halves else self.gate.activate(first)


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
