"""What training minimises. Pictures are [B, C, H, W] in [0, 1]; every loss is a scalar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nafnet_deploy.errors import ConfigError, MachineError, MissingDependency
from nafnet_deploy.tables import nearest

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


def fft_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean modulus of the difference of the 2-D Fourier transforms, as the sums that the transform is (not scaled)."""
    difference: Tensor = torch.fft.rfft2(restored.float() - clean.float())  # linear: the difference's own transform
    return difference.abs().mean()


def edge_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute error of the two Sobel derivatives of every channel (the border pixels left out)."""
    channels = restored.shape[1]
    sobel = restored.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float32)
    kernels = torch.stack([sobel, sobel.T])[:, None].repeat(channels, 1, 1, 1)
    derivatives = F.conv2d(restored.float() - clean.float(), kernels, groups=channels)
    return derivatives.abs().mean()


def perceptual_loss() -> Loss:
    """Distance in a network's features (Zhang et al., LPIPS, 2018), by the package `lpips`.

    Raises:
        MissingDependency: `lpips` is not installed; the base install does without its torchvision.
        MachineError: its torchvision is of another torch, or the weights of VGG are not here and cannot be fetched.
    """
    try:
        from lpips import LPIPS
    except ImportError as error:
        raise MissingDependency("lpips", "perceptual", "for the perceptual loss") from error
    except RuntimeError as error:  # torchvision's operators were built for another torch
        raise MachineError(
            f"torchvision does not work with torch {torch.__version__} ({error}).",
            "Install the torchvision of that torch, from the index that torch came from.",
        ) from error
    try:
        network = LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MachineError(
            f"the perceptual loss could not fetch the weights of VGG-16 ({error}).",
            f"Put torchvision's file vgg16-397923af.pth into {folder}, or take the perceptual loss out of the recipe.",
        ) from error

    def loss(restored: Tensor, clean: Tensor) -> Tensor:
        network.to(restored.device)
        distance: Tensor = network(_views(restored.float()), _views(clean.float()), normalize=True)
        return distance.mean()

    return loss


def _views(pictures: Tensor) -> Tensor:
    """The views of a stereo pair one behind the other: [B, 3 V, H, W] -> [B V, 3, H, W]."""
    return pictures.reshape(-1, 3, *pictures.shape[2:]) if pictures.shape[1] > 3 else pictures


LOSSES: dict[str, Callable[[], Loss]] = {
    "psnr": lambda: psnr_loss,
    "l1": lambda: l1_loss,
    "charbonnier": lambda: charbonnier_loss,
    "fft": lambda: fft_loss,
    "edge": lambda: edge_loss,
    "perceptual": perceptual_loss,
}


def mixed_loss(weights: Mapping[str, float]) -> Loss:
    """The weighted sum of named losses.

    Raises:
        ConfigError: an unknown name, or no positive weight.
        MissingDependency: a loss needs a package that is not installed.
    """
    for name in weights:
        if name not in LOSSES:
            raise ConfigError(f"there is no loss {name!r}.", nearest(name, LOSSES))
    parts = [(weight, LOSSES[name]()) for name, weight in weights.items() if weight != 0]
    if not parts or min(weight for weight, _ in parts) < 0:
        raise ConfigError(f"recipe: loss = {dict(weights)} is impossible:", "give weights of 0 or more, one above 0.")

    def loss(restored: Tensor, clean: Tensor) -> Tensor:
        return torch.stack([weight * part(restored, clean) for weight, part in parts]).sum()

    return loss


def supervision_weights(iterations: int, first: float = 0.5, last: float = 1.0) -> list[float]:
    """Weight of each iteration's loss: linear from `first` to `last`, divided by their sum."""
    if iterations == 1:
        return [1.0]
    raw = [first + (last - first) * i / (iterations - 1) for i in range(iterations)]
    return [w / sum(raw) for w in raw]


def deep_supervision(loss: Loss, pictures: Sequence[Tensor], clean: Tensor, weights: Sequence[float]) -> Tensor:
    """Weighted sum of `loss` over the picture of every iteration; iterations of weight 0 cost nothing."""
    parts = [w * loss(p, clean) for w, p in zip(weights, pictures, strict=True) if w > 0]
    return torch.stack(parts).sum()


def never_worse(loss: Loss, pictures: Sequence[Tensor], clean: Tensor) -> Tensor:
    """How much an iteration is worse than the one before it, where it is: mean over the batch, summed over iterations.

    Judged picture by picture: in a batch of mixed damage the badly damaged ones go on gaining, and would hide that the
    others are made worse. No gradient reaches the earlier picture: it must not become worse for the later's sake.

    Args:
        loss: smaller is better.
        pictures: of every iteration, [B, C, H, W] each.
        clean: what they should be, [B, C, H, W].
    """
    each = torch.stack([torch.stack([loss(p[i : i + 1], clean[i : i + 1]) for i in range(len(p))]) for p in pictures])
    return (each[1:] - each[:-1].detach()).clamp(min=0).mean(dim=1).sum()
