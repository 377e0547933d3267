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
    """The picture of every iteration, padded for the network and cut back: [1, C, H, W] -> N times [1, C, s H, s W]."""
    height, width = degraded.shape[-2:]
    padded = pad_to_multiple(degraded.cpu().numpy(), config.size_multiple, padding_mode(config))
    restored = pictures(network, torch.from_numpy(padded).to(degraded.device), iterations)
    return [picture[..., : config.scale * height, : config.scale * width] for picture in restored]


def views(pictures: Tensor) -> list[NDArray[np.float32]]:
    """[1, 3 n, H, W] -> n times [H, W, 3], clipped to [0, 1]."""
    return [plain(view) for view in pictures.chunk(pictures.shape[1] // 3, dim=1)]


def panel(pictures: Tensor) -> Tensor:
    """[1, 3 n, H, W] -> [3, n H, W] in [0, 1]: the views one below the other."""
    return torch.cat(pictures[0].float().clamp(0, 1).cpu().chunk(pictures.shape[1] // 3), dim=1)


def plain(picture: Tensor) -> NDArray[np.float32]:
    """[1, 3, H, W] -> [H, W, 3], clipped to [0, 1]."""
    result: NDArray[Any] = picture[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return result
