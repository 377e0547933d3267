"""Flips and quarter turns, drawn once and applied to every picture of an example."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def orient(picture: NDArray[np.uint8], turns: int, mirror: bool) -> NDArray[np.uint8]:
    """A square [H, W, C] turned left by so many quarters, then mirrored left to right."""
    picture = np.rot90(picture, k=turns)
    return picture[:, ::-1] if mirror else picture


def flip_views(pair: NDArray[np.uint8], upside_down: bool, mirror: bool) -> NDArray[np.uint8]:
    """Both views of a stereo pair [H, W, 6], flipped as one.

    Mirrored, what the left eye saw is what the right eye sees: the views change places. They are never turned, as
    points of one row must stay in one row.
    """
    if upside_down:
        pair = pair[::-1]
    return np.concatenate([pair[:, ::-1, 3:], pair[:, ::-1, :3]], axis=2) if mirror else pair
