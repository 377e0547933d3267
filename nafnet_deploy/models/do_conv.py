"""DO-Conv: a convolution with more parameters than it needs, which train better and fold away."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DOConv2d(nn.Module):
    """A convolution whose kernel is the product of two: [B, c_in, H, W] -> [B, c_out, H', W'].

    Every input channel's k x k kernel passes through a k^2 x k^2 matrix of its own, I + D. D starts at 0, so a fresh
    layer is the plain convolution with the weights W. Source: Cao et al., "DO-Conv: Depthwise Over-parameterized
    Convolutional Layer", 2020, with the depth multiplier k^2. For a kernel of one pixel it would be a plain conv.

    Args:
        in_channels: c_in.
        out_channels: c_out.
        kernel: side k of the kernel, 2 or more.
        stride: as in `nn.Conv2d`.
        padding: zeros on every side (pixels).
        groups: 1, or c_in for a depthwise conv.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel, self.stride, self.padding = kernel, stride, padding
        area = kernel * kernel
        self.W = nn.Parameter(torch.empty(out_channels, in_channels // groups, area))
        self.D = nn.Parameter(torch.zeros(in_channels, area, area))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.kaiming_uniform_(self.W, a=math.sqrt(5))  # both as nn.Conv2d
        bound = 1 / math.sqrt(in_channels // groups * area)
        nn.init.uniform_(self.bias, -bound, bound)

    def weight(self) -> Tensor:
        """The kernel that it amounts to, [c_out, c_in / groups, k, k]."""
        area = self.kernel * self.kernel
        matrix = self.D + torch.eye(area, dtype=self.D.dtype, device=self.D.device)
        per_input = self.W.reshape(self.out_channels // self.groups, self.in_channels, area)
        kernel = torch.einsum("ims,ois->oim", matrix, per_input)
        return kernel.reshape(self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, groups=self.groups)

    def plain(self) -> nn.Conv2d:
        """The same as a plain convolution, its kernel multiplied out in float64."""
        conv = nn.Conv2d(
            self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, groups=self.groups
        )
        conv.weight = nn.Parameter(copy.deepcopy(self).double().weight().detach().float())
        conv.bias = nn.Parameter(self.bias.detach().clone())
        return conv


def spatial_conv(
    over: bool, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Module:
    """A convolution over more than one pixel, over-parameterised where `over` says so."""
    if over:
        return DOConv2d(in_channels, out_channels, kernel, stride, padding, groups)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups)
