"""Fourier transforms as products with matrices of cosines and sines, which every engine has.

ONNX has a DFT operator; TensorRT does not. A transform of n values is exactly a product with an n x n matrix, so that
of a map is one product per side. The matrices depend on the sides alone: a graph of a fixed size holds them as weights,
and a graph of free sizes computes them. All of it is float32: a sum over a picture passes half's largest number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nafnet_deploy.models.frequency import FrequencySkip


class MatrixMagnitude(nn.Module):
    """A MagnitudeInput in deployment form; float32 whatever the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # The mean, by far the largest value of a spectrum, would leave its rounding on all the others.
        mean = x.float().mean(dim=(2, 3), keepdim=True)
        real, imaginary = transform(x.float() - mean, width)
        corner = (torch.arange(height, device=x.device)[:, None] + torch.arange(width, device=x.device)) == 0
        real = real + corner * mean * (height * width)
        # A tensor, not a number: tracing with free sizes would round the root.
        pixels = torch.full((), height * width, dtype=torch.float32, device=x.device)
        magnitude = torch.sqrt((real * real + imaginary * imaginary) / pixels)
        return torch.cat([x.float(), torch.log(1 + magnitude)], dim=1)


class MatrixSkip(nn.Module):
    """A FrequencySkip in deployment form; the convs, too, are float32."""

    def __init__(self, skip: FrequencySkip, second: tuple[nn.Conv2d, nn.Conv2d]) -> None:
        super().__init__()
        self.first = skip.first
        self.real, self.imaginary = second

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        parts = torch.relu(self.first(torch.cat(transform(x.float(), width // 2 + 1), dim=1)))
        change = inverse(self.real(parts), self.imaginary(parts), height, width)
        return x + change.to(x.dtype)


def transform(x: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The first columns of the 2-D transform, not scaled: real and imaginary part, each [B, c, H, columns]."""
    height, width = x.shape[2:]
    cosine, sine = _waves(width, columns, width, x)
    real, imaginary = x @ cosine, -(x @ sine)
    cosine, sine = _waves(height, height, height, x)
    return cosine @ real + sine @ imaginary, cosine @ imaginary - sine @ real


def inverse(real: Tensor, imaginary: Tensor, height: int, width: int) -> Tensor:
    """The real map [B, c, H, W] of a half spectrum [B, c, H, W // 2 + 1]."""
    cosine, sine = _waves(height, height, height, real)
    real, imaginary = cosine @ real - sine @ imaginary, cosine @ imaginary + sine @ real
    columns = width // 2 + 1
    cosine, sine = _waves(columns, width, width, real)
    # Every column of the other half mirrors one of this half, all but the first and, of an even width, the last.
    place = torch.arange(columns, device=real.device)
    share = torch.where((place == 0) | (2 * place == width), 1.0, 2.0)[:, None] / (height * width)
    return real @ (cosine * share) - imaginary @ (sine * share)


def _waves(rows: int, columns: int, period: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi i k / period for i < rows, k < columns, float32 [rows, columns]."""
    i, k = (torch.arange(n, device=like.device) for n in (rows, columns))
    # Whole turns are taken out while the numbers are integers: float32 would lose the rest of a large product.
    rest = torch.remainder(i[:, None] * k[None, :], torch.full((), period, dtype=torch.int64, device=like.device))
    angle = rest.float() * (2 * math.pi) / period
    return torch.cos(angle), torch.sin(angle)
