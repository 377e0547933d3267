"""Random crops, flips and quarter turns, drawn once and applied to every picture of a pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_crop(picture: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square of `size` pixels from [H, W, C]; H and W must be at least `size`."""
    top = int(rng.integers(picture.shape[0] - size + 1))
    left = int(rng.integers(picture.shape[1] - size + 1))
    return picture[top : top + size, left : left + size]


def random_orientation(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One of the eight flips and quarter turns of a square [H, W, C]."""
    picture = np.rot90(picture, k=int(rng.integers(4)))
    return picture[:, ::-1] if rng.random() < 0.5 else picture
