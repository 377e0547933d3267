"""A network on whole pictures of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.images.padding import pad_to_multiple
from nafnet_deploy.models.registry import padding_mode, pictures


@torch.inference_mode()
def restore_all(network: nn.Module, config: ModelConfig, degraded: Tensor, iterations: int) -> list[Tensor]:
    """The picture of every iteration, padded for the network and cut back: [1, 3, H, W] -> N times the same."""
    height, width = degraded.shape[-2:]
    padded = pad_to_multiple(degraded.cpu().numpy(), config.size_multiple, padding_mode(config))
    restored = pictures(network, torch.from_numpy(padded).to(degraded.device), iterations)
    return [picture[..., :height, :width] for picture in restored]


def plain(picture: Tensor) -> NDArray[np.float32]:
    """[1, 3, H, W] -> [H, W, 3], clipped to [0, 1]."""
    result: NDArray[Any] = picture[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return result
