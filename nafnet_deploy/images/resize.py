"""Pictures made smaller and larger, bicubic with antialiasing, as super-resolution makes its input."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Sample = TypeVar("Sample", bound=np.generic)


def shrink(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """A picture at 1 / `scale` of its height and width, which must be multiples of it: [H, W, 3 n] -> uint8."""
    height, width = pixels.shape[:2]
    return _resize(pixels, height // scale, width // scale)


def enlarge(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """A picture at `scale` times its height and width: [H, W, 3 n] -> uint8. What enlarging without a network gives."""
    height, width = pixels.shape[:2]
    return _resize(pixels, height * scale, width * scale)


def to_multiple(pixels: NDArray[Sample], scale: int) -> NDArray[Sample]:
    """A picture without the last rows and columns that make its sides no multiple of `scale`."""
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def _resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    views = [
        Image.fromarray(np.ascontiguousarray(pixels[..., first : first + 3])).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for first in range(0, pixels.shape[2], 3)
    ]
    return np.concatenate([np.asarray(view) for view in views], axis=2)
