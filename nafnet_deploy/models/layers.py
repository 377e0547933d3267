"""The small parts of a NAFNet block. All tensors are [batch, channels, height, width]."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of every pixel (Ba et al., 2016), as NAFNet uses it.

    The statistics are computed in float32 whatever the input's dtype: in half precision the squared
    deviation overflows at 65504 and the layer collapses without a warning.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(
            x.permute(0, 2, 3, 1).float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps
        )
        return y.permute(0, 3, 1, 2).to(x.dtype)


class GlobalMean(nn.Module):
    """Mean over height and width, summed in float32: [B, c, H, W] -> [B, c, 1, 1].

    With a `window` it is the mean around every pixel instead, [B, c, H, W]; see `local_mean`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = 0
        """Side of the window in pixels of this map; 0 for the whole map."""

    def forward(self, x: Tensor) -> Tensor:
        mean = local_mean(x.float(), self.window) if self.window else x.float().mean(dim=(2, 3), keepdim=True)
        return mean.to(x.dtype)


class Enlarge(nn.Module):
    """Enlarges pictures bilinearly, pixel centres aligned: [B, C, H, W] -> [B, C, s H, s W]; s = 1 changes nothing.

    Args:
        channels: C.
        scale: s.
    """

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.channels, self.scale = channels, scale

    def forward(self, x: Tensor) -> Tensor:
        return x if self.scale == 1 else F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def local_mean(x: Tensor, window: int) -> Tensor:
    """The mean over a square window around every pixel, moved inside where it would reach over the border.

    TLC (Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022) as two
    average pools, k x 1 and 1 x k. No prefix sums, which grow with the picture. Of an even window, the pixel is the
    last of the first half. Along a side that the window covers, the mean is that of the whole side.

    Args:
        x: float32 [B, c, H, W].
        window: side of the window in pixels, 1 or more.

    Returns:
        [B, c, H, W], or [B, c, 1, 1] where the sizes are known and the window covers both.
    """
    height, width = x.shape[2:]
    if isinstance(height, int) and isinstance(width, int) and window >= max(height, width):
        return x.mean(dim=(2, 3), keepdim=True)
    return _mean_along(_mean_along(x, window, 2), window, 3)


def _mean_along(x: Tensor, window: int, dim: int) -> Tensor:
    """The same along one side. It holds for any size, with no branch that a traced graph would lose."""
    covered = torch.sym_min(x.shape[dim], window)  # type: ignore[no-untyped-call]
    # A pool needs a map as large as its window: what lacks are zeros, and the quotient takes them out of the mean.
    padded = F.pad(x, _ends(dim, 0, window - covered))
    mean = F.avg_pool2d(padded, (window, 1) if dim == 2 else (1, window), stride=1) * (window / covered)
    before = (covered - 1) // 2
    return F.pad(mean, _ends(dim, before, covered - 1 - before), mode="replicate")


def _ends(dim: int, before: int, after: int) -> list[int]:
    return [0, 0, before, after] if dim == 2 else [before, after, 0, 0]


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """A place in which nothing is cast on its own, on the device of `x`; for sums that half precision would spoil."""
    kind = x.device.type  # the meta device, on which networks are counted, knows no autocast
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else contextlib.nullcontext()
