"""The pictures over which the range scan runs: the user's, or seeded ones and a few that stress a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES, read_picture
from nafnet_deploy.images.padding import pad_to_multiple
from nafnet_deploy.models.registry import padding_mode
from nafnet_deploy.parity.inputs import natural_batch

MOST_PICTURES = 32
"""Pictures taken from a folder, evenly over the names in order."""
MOST_PIXELS = 256
"""Height and width (pixels) of the crop taken from the middle of a picture."""
SEEDED_PIXELS = 128
"""Height and width (pixels) of the seeded pictures, raised to the network's size multiple."""


def seeded_inputs(config: ModelConfig) -> list[NDArray[np.float32]]:
    """Natural-looking pictures, and black, white, a checkerboard and saturated noise; float32 [1, C, H, W]."""
    side = -(-SEEDED_PIXELS // config.size_multiple) * config.size_multiple
    shape = (1, config.planes, side, side)
    checkers = np.indices((side, side)).sum(axis=0) % 2
    noise = np.random.default_rng(0).integers(0, 2, shape)
    stress = [np.zeros(shape), np.ones(shape), np.broadcast_to(checkers, shape), noise]
    return [natural_batch(shape, 0), natural_batch(shape, 1), *(np.array(s, np.float32) for s in stress)]


def folder_inputs(folder: Path, config: ModelConfig) -> tuple[list[NDArray[np.float32]], str]:
    """Crops from the middle of a folder's pictures, float32 [1, 3, H, W] in [0, 1], and what they are in words.

    Raises:
        UsageError: the folder is missing or holds no picture, or the network takes other than 3 channels.
        ImageError: a picture that cannot be read.
    """
    if config.channels != 3:
        raise UsageError(f"this network takes {config.channels} channels, not pictures.", "Leave --calibrate out.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Give a folder of pictures to --calibrate.")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise UsageError(f"{folder} holds no pictures.", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    count = min(len(paths), MOST_PICTURES)
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    words = f"{count} of {len(paths)} pictures of {folder.resolve().name}, at most {MOST_PIXELS}x{MOST_PIXELS}"
    return [_middle(read_picture(path).pixels, config) for path in chosen], words


def _middle(pixels: NDArray[np.float32], config: ModelConfig) -> NDArray[np.float32]:
    height, width = (min(side, MOST_PIXELS) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    crop = pixels[top : top + height, left : left + width].transpose(2, 0, 1)[None]
    crop = np.concatenate([crop] * config.views, axis=1)  # without a second picture, the same to both eyes
    return np.ascontiguousarray(pad_to_multiple(crop, config.size_multiple, padding_mode(config)))
