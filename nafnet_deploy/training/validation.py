"""PSNR of a network on whole noisy pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.images.padding import pad_to_multiple
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.registry import padding_mode, pictures


@torch.inference_mode()
def validation_psnr(
    network: nn.Module,
    config: ModelConfig,
    clean: Sequence[NDArray[np.uint8]],
    sigma: float,
    iterations: int,
    seed: int = 0,
) -> list[float]:
    """Mean PSNR (dB, over RGB, clipped to [0, 1]) for N = 1..iterations.

    Args:
        network: the network, in any mode; left in the mode it came in.
        config: its configuration.
        clean: uint8 [H, W, 3] pictures.
        sigma: Gaussian noise level in steps of 255; one generator with `seed` runs through all pictures.
        iterations: largest N.
    """
    training = network.training
    network.eval()
    rng = np.random.default_rng(seed)
    scores = np.zeros(iterations)
    for picture in clean:
        truth = picture.astype(np.float32) / 255
        noisy = truth + np.float32(sigma / 255) * rng.standard_normal(truth.shape, dtype=np.float32)
        height, width = truth.shape[:2]
        padded = pad_to_multiple(noisy.transpose(2, 0, 1)[None], config.size_multiple, padding_mode(config))
        for n, restored in enumerate(pictures(network, torch.from_numpy(padded), iterations)):
            out = restored[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0).numpy()
            scores[n] += psnr(out, truth)
    network.train(training)
    return [float(s) for s in scores / len(clean)]
