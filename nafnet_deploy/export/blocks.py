"""The NAFBlock and the reasoning unit in deployment form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.export.attention import Attend
from nafnet_deploy.export.norms import ChannelNorm, Gated, PairNorm, absorb_norm, halves, scale_output
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
    """A ReasoningUnit in deployment form, which works out once what no iteration changes.

    The unit's LayerNorm reads h and k side by side, and h = x + k always. In the coordinates p = h + k and x = h - k
    the mean over both is half that of p, the variance a quarter of mean(p_c^2) + mean(x^2), p_c being p without its
    mean, and so, with the weights W = [A, B] of the conv behind the norm::

        W LN([h, k]) + d = ((A + B) p_c + (A - B) x) / sqrt(mean(p_c^2) + mean(x^2) + 4 eps) + d

    What depends on x alone is the same in every iteration, the conv on p_c has half the channels to read, and nothing
    is concatenated.
    """

    def __init__(self, unit: ReasoningUnit) -> None:
        super().__init__()
        fuse, cut = absorb_norm(unit.norm, unit.fuse), halves if unit.sg.halves else lambda conv: (conv,)
        features, knowledge = fuse.weight.detach().double().chunk(2, dim=1)
        assert fuse.bias is not None
        self.norm = PairNorm(unit.norm)
        self.turn = nn.ModuleList(cut(_pointwise(features + knowledge)))
        """Read p_c."""
        self.hold = nn.ModuleList(cut(_pointwise(features - knowledge)))
        """Read x."""
        self.shift = nn.ParameterList(
            [nn.Parameter(part.view(1, -1, 1, 1).clone()) for part in fuse.bias.detach().chunk(len(self.turn))]
        )
        assert isinstance(unit.mix, nn.Conv2d)
        self.mix = nn.ModuleList(cut(unit.mix))
        self.activation = unit.sg
        self.attend = Attend(unit.sca, unit.update.in_channels)
        self.blocks = nn.Sequential(*[FoldedBlock(b) for b in unit.blocks if isinstance(b, NAFBlock)])
        self.reasoning, self.gate = halves(unit.update)

    def context(self, x: Tensor) -> tuple[Tensor, ...]:
        """What all iterations on the features x [B, c, H, W] share: mean(x^2) [B, 1, H, W] and (A - B) x, by halves."""
        return self.norm.energy(x), *(conv(x.to(self._dtype)) for conv in self.hold)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.mix.parameters()).dtype

    def step(self, x: Tensor, h: Tensor, k: Tensor | None, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """One iteration: (input, features, knowledge or None for zero, `context(x)`) -> (features, knowledge)."""
        energy, *held = context
        p, scale = self.norm(h.float() if k is None else h.float() + k.float(), energy)
        parts = [
            mix(((turn(p.to(self._dtype)).float() + part.float()) * scale + shift).to(self._dtype))
            for turn, part, shift, mix in zip(self.turn, held, self.shift, self.mix, strict=True)
        ]
        z = self.activation.combine(*parts) if self.activation.halves else self.activation.activate(*parts)
        z = self.blocks(self.attend(z).to(x.dtype))
        update = torch.sigmoid(self.gate(z))
        k = update * self.reasoning(z) if k is None else k + update * (self.reasoning(z) - k)
        return (x.to(k.dtype) + k).to(x.dtype), k

    def forward(self, x: Tensor, iterations: int) -> list[Tensor]:
        """The features after each of `iterations` iterations, first to last."""
        context, h, k, results = self.context(x), x, None, []
        for _ in range(iterations):
            h, k = self.step(x, h, k, context)
            results.append(h)
        return results


def _pointwise(weight: Tensor) -> nn.Conv2d:
    """A 1x1 conv without bias, its weights [out, in, 1, 1]."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
    conv.weight = nn.Parameter(weight.float())
    return conv
