"""Parts that see the whole picture through its Fourier transform. The transforms are computed in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.models.layers import without_autocast


class MagnitudeInput(nn.Module):
    """Puts the magnitudes of a picture's spectrum beside the picture: [B, C, H, W] -> [B, 2C, H, W].

    They are log(1 + |F|), F the 2-D transform divided by sqrt(H W), all of it, frequency 0 in the corner. So scaled,
    white noise has the same magnitudes in a small picture and a large one; the logarithm keeps frequency 0, which
    grows with the picture, from drowning the rest and from being lost in half precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        magnitude = torch.fft.fft2(x.float(), norm="ortho").abs()
        return torch.cat([x, torch.log1p(magnitude).to(x.dtype)], dim=1)


class FrequencySkip(nn.Module):
    """Filters features in the frequency domain and adds the result: [B, c, H, W] -> the same shape.

    The half spectrum of a real map (not scaled), its real and imaginary parts as 2c channels, 1x1 conv, ReLU, 1x1
    conv, and back. After NAFFT-Net, a study of deblurring, which puts one on each skip of the encoder.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.second = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float())
        parts = torch.cat([spectrum.real, spectrum.imag], dim=1)
        with without_autocast(x):  # the sums over a picture are beyond half, and too coarse in bfloat16
            real, imaginary = self.second(torch.relu(self.first(parts))).chunk(2, dim=1)
        change: Tensor = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:])
        return x + change.to(x.dtype)
