"""Clean pictures in memory, cut into degraded and clean training crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nafnet_deploy.data.augment import random_crop, random_orientation
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES, read_picture


def load_folder(folder: Path, smallest: int, on_skip: Callable[[str], None]) -> list[NDArray[np.uint8]]:
    """All pictures of a folder as uint8 [H, W, 3], in name order.

    A picture that cannot be read or is smaller than `smallest` pixels is skipped and told to `on_skip`.

    Raises:
        ConfigError: the folder is missing, or none of its pictures can be used.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of pictures.", "Set data.train and data.val to folders.")
    pictures = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES):
        try:
            pixels = read_picture(path).pixels
        except ImageError as error:
            on_skip(f"{path.name}: {error.message}")
            continue
        if min(pixels.shape[:2]) < smallest:
            on_skip(f"{path.name}: {pixels.shape[1]}x{pixels.shape[0]} is smaller than the crop of {smallest}")
            continue
        pictures.append(np.round(pixels * 255).astype(np.uint8))
    if not pictures:
        raise ConfigError(f"{folder} holds no usable picture.", "It needs PNG or JPEG files larger than the crop.")
    return pictures


class CropBatches:
    """Batches of random crops, each a function of (seed, step) alone, so that a resumed run sees the same ones."""

    def __init__(
        self, pictures: list[NDArray[np.uint8]], degradation: Degradation, crop: int, batch: int, seed: int
    ) -> None:
        self.pictures, self.degradation = pictures, degradation
        self.crop, self.batch, self.seed = crop, batch, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """(degraded, clean), each float32 [batch, 3, crop, crop], channels-last in memory."""
        rng = np.random.default_rng((self.seed, step))
        clean = np.empty((self.batch, self.crop, self.crop, 3), np.float32)
        degraded = np.empty_like(clean)
        for i in range(self.batch):
            picture = self.pictures[int(rng.integers(len(self.pictures)))]
            square = random_orientation(random_crop(picture, self.crop, rng), rng)
            clean[i] = square.astype(np.float32) / 255
            degraded[i] = self.degradation(clean[i], rng)
        return torch.from_numpy(degraded).permute(0, 3, 1, 2), torch.from_numpy(clean).permute(0, 3, 1, 2)
