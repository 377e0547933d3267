"""What training minimises. Pictures are [B, C, H, W] in [0, 1]; every loss is a scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def psnr_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Negative PSNR in dB, averaged over the batch (the loss of NAFNet, Chen et al. 2022)."""
    mse = (restored.float() - clean.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(mse + 1e-8).mean()


def l1_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute error."""
    return (restored.float() - clean.float()).abs().mean()


def charbonnier_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 1e-6), a smooth L1 (Lai et al., LapSRN, 2017)."""
    return ((restored.float() - clean.float()).square() + 1e-6).sqrt().mean()


LOSSES: dict[str, Loss] = {"psnr": psnr_loss, "l1": l1_loss, "charbonnier": charbonnier_loss}


def supervision_weights(iterations: int) -> list[float]:
    """Weight of each iteration's loss: linear from 0.5 (first) to 1.0 (last), divided by their sum."""
    if iterations == 1:
        return [1.0]
    raw = [0.5 + 0.5 * i / (iterations - 1) for i in range(iterations)]
    return [w / sum(raw) for w in raw]


def deep_supervision(loss: Loss, pictures: Sequence[Tensor], clean: Tensor) -> Tensor:
    """Weighted sum of `loss` over the picture of every iteration."""
    weights = supervision_weights(len(pictures))
    return torch.stack([w * loss(p, clean) for w, p in zip(weights, pictures, strict=True)]).sum()
