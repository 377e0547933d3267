"""The networks written once more from their formulas, on a state dict, without any of our modules.

Sources: Chen et al., ECCV 2022 (blocks, U-Net, SimpleGate, SCA); Hu et al., 2018 (CA); Wang et al., 2020 (ECA);
Shazeer, 2020 (SwiGLU, GeGLU, ReGLU); Cao et al., 2020 (DO-Conv). Means are global;
arithmetic is that of the weights and the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nafnet_deploy.config import ModelConfig

Weights = Mapping[str, Tensor]


def gate(kind: str, x: Tensor) -> Tensor:
    if kind in ("relu", "gelu"):
        return x.clamp(min=0) if kind == "relu" else gelu(x)
    a, b = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
    second = {"simple": lambda: b, "swiglu": lambda: b / (1 + torch.exp(-b)), "geglu": lambda: gelu(b)}
    return a * second.get(kind, lambda: b.clamp(min=0))()


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def norm(w: Weights, at: str, x: Tensor) -> Tensor:
    if f"{at}.weight" not in w:
        return x
    centred = x - x.mean(1, keepdim=True)
    unit = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return unit * w[f"{at}.weight"].view(1, -1, 1, 1) + w[f"{at}.bias"].view(1, -1, 1, 1)


def conv(w: Weights, at: str, x: Tensor, **options: int) -> Tensor:
    kernel = w[f"{at}.weight"] if f"{at}.weight" in w else do_conv_kernel(w[f"{at}.D"], w[f"{at}.W"])
    return F.conv2d(x, kernel, w.get(f"{at}.bias"), **options)


def do_conv_kernel(d: Tensor, w: Tensor) -> Tensor:
    """Every kernel of every pair of channels, one after the other: (I + D_i) w_oi."""
    outputs, per_group, area = w.shape
    side, depthwise = math.isqrt(area), per_group < d.shape[0]
    rows = [
        [(torch.eye(area, dtype=d.dtype) + d[o if depthwise else i]) @ w[o, i] for i in range(per_group)]
        for o in range(outputs)
    ]
    return torch.stack([torch.stack(row) for row in rows]).view(outputs, per_group, side, side)


def waves(n: int) -> Tensor:
    """The matrix [n, n] of the Fourier transform, complex128."""
    i = torch.arange(n, dtype=torch.float64)
    return torch.exp(-2j * math.pi * torch.outer(i, i) / n)


def spectrum(x: Tensor) -> Tensor:
    return waves(x.shape[2]) @ x.to(torch.complex128) @ waves(x.shape[3])


def keep(w: Weights, level: int, x: Tensor) -> Tensor:
    """What a skip passes through: the half spectrum filtered, and the other half its mirror."""
    at = f"filters.{level}"
    if f"{at}.first.weight" not in w:
        return x
    height, width = x.shape[2:]
    half = spectrum(x)[..., : width // 2 + 1]
    y = conv(w, f"{at}.first", torch.cat([half.real, half.imag], 1).to(x.dtype)).clamp(min=0)
    real, imaginary = conv(w, f"{at}.second", y).double().chunk(2, 1)
    half = torch.complex(real, imaginary)
    lines = torch.linalg.inv(waves(height)) @ half  # of each column; the rows behind them are real signals
    lines[..., 0] = lines[..., 0].real + 0j
    if width % 2 == 0:
        lines[..., -1] = lines[..., -1].real + 0j
    mirror = lines[..., 1 : (width + 1) // 2].conj().flip(-1)
    change = torch.cat([lines, mirror], -1) @ torch.linalg.inv(waves(width))
    return x + change.real.to(x.dtype)


def attend(kind: str, w: Weights, at: str, x: Tensor) -> Tensor:
    if kind == "none":
        return x
    mean = x.flatten(2).mean(2)
    if kind == "sca":
        scale = mean @ w[f"{at}.1.weight"][:, :, 0, 0].T + w[f"{at}.1.bias"]
    elif kind == "ca":
        inner = (mean @ w[f"{at}.1.weight"][:, :, 0, 0].T + w[f"{at}.1.bias"]).clamp(min=0)
        scale = torch.sigmoid(inner @ w[f"{at}.3.weight"][:, :, 0, 0].T + w[f"{at}.3.bias"])
    else:
        kernel, channels = w[f"{at}.1.weight"].view(-1), x.shape[1]
        size = int(abs((math.log2(channels) + 1) / 2))
        assert len(kernel) == size + (size % 2 == 0)
        sums = torch.zeros_like(mean)
        for c in range(channels):
            for j, weight in enumerate(kernel):
                if 0 <= (neighbour := c + j - len(kernel) // 2) < channels:
                    sums[:, c] += weight * mean[:, neighbour]
        scale = torch.sigmoid(sums)
    return x * scale[:, :, None, None]


def block(config: ModelConfig, w: Weights, at: str, x: Tensor) -> Tensor:
    name = {"sca": "sca", "ca": "se"}.get(config.attention, config.attention)
    y = conv(w, f"{at}.conv1", norm(w, f"{at}.norm1", x))
    y = gate(config.gate, conv(w, f"{at}.conv2", y, padding=1, groups=y.shape[1]))
    x = x + conv(w, f"{at}.conv3", attend(config.attention, w, f"{at}.{name}", y)) * w[f"{at}.beta"]
    y = gate(config.gate, conv(w, f"{at}.conv4", norm(w, f"{at}.norm2", x)))
    return x + conv(w, f"{at}.conv5", y) * w[f"{at}.gamma"]


def blocks(config: ModelConfig, w: Weights, at: str, count: int, x: Tensor) -> Tensor:
    for i in range(count):
        x = block(config, w, f"{at}.{i}", x)
    return x


def reason(config: ModelConfig, w: Weights, place: str, x: Tensor, iterations: int) -> Tensor:
    at = f"reasoning.{place}"
    if f"{at}.fuse.weight" not in w:
        return x
    h, k = x, torch.zeros_like(x)
    for _ in range(iterations):
        z = conv(w, f"{at}.fuse", norm(w, f"{at}.norm", torch.cat([h, k], 1)))
        z = gate(config.gate, conv(w, f"{at}.mix", z, padding=1, groups=z.shape[1]))
        z = blocks(config, w, f"{at}.blocks", config.reasoning_blocks, attend(config.attention, w, f"{at}.sca", z))
        reasoning, update = conv(w, f"{at}.update", z).chunk(2, 1)
        k = k + (reasoning - k) / (1 + torch.exp(-update))
        h = x + k
    return h


def restore(config: ModelConfig, w: Weights, x: Tensor, iterations: int = 1) -> Tensor:
    """The picture [B, C, s H, s W] after some iterations; H and W multiples of the size multiple."""
    levels, skips = len(config.encoder_blocks), []
    y = x
    if config.frequency_input:
        y = torch.cat([x, (1 + (spectrum(x) / math.sqrt(x.shape[2] * x.shape[3])).abs()).log().to(x.dtype)], 1)
    y = conv(w, "intro", y, padding=1)
    for i, count in enumerate(config.encoder_blocks):
        y = blocks(config, w, f"encoders.{i}", count, y)
        if i == levels - 1:
            y = reason(config, w, "encoder", y, iterations)
        skips.append(keep(w, i, y))
        y = conv(w, f"downs.{i}", y, stride=2)
    y = reason(config, w, "middle", blocks(config, w, "middle_blks", config.middle_blocks, y), iterations)
    for i, count in enumerate(config.decoder_blocks):
        y = F.pixel_shuffle(conv(w, f"ups.{i}.0", y), 2) + skips.pop()
        y = blocks(config, w, f"decoders.{i}", count, y)
        if i == 0:
            y = reason(config, w, "decoder", y, iterations)
    y = F.pixel_shuffle(conv(w, "ending", y, padding=1), config.scale)
    return y + (x if config.scale == 1 else F.interpolate(x, scale_factor=config.scale, mode="bilinear"))
