"""Overlapping tiles over a picture, and the weights that blend them without a seam."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.padding import round_up


@dataclasses.dataclass(frozen=True)
class Axis:
    """Equal, overlapping spans that cover one side of a picture."""

    starts: tuple[int, ...]
    """First pixel of each span, ascending."""
    size: int
    """Pixels in a span."""
    overlap: int
    """Pixels shared by neighbours; the last span is shifted inwards and may share more."""

    @property
    def length(self) -> int:
        """Pixels covered."""
        return self.starts[-1] + self.size

    def weights(self, scale: int = 1) -> list[NDArray[np.float32]]:
        """Blending weights [size * scale] of each span; at every pixel they sum to 1.

        Inside an overlap they follow a raised cosine; where a single span covers a pixel its weight is exactly 1.
        """
        size, overlap = self.size * scale, self.overlap * scale
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))
        windows = []
        for i in range(len(self.starts)):
            window = np.ones(size)
            if i > 0:
                window[:overlap] = ramp
            if i < len(self.starts) - 1:
                window[size - overlap :] = np.minimum(window[size - overlap :], ramp[::-1])
            windows.append(window)
        total = np.zeros(self.length * scale)
        for start, window in zip(self.starts, windows, strict=True):
            total[start * scale : start * scale + size] += window
        return [
            (window / total[start * scale : start * scale + size]).astype(np.float32)
            for start, window in zip(self.starts, windows, strict=True)
        ]


def plan_axis(length: int, size: int, overlap: int) -> Axis:
    """Spans of `size` pixels over `length` pixels; a span is never longer than the side itself.

    Raises:
        ConfigError: a size below 1, or several spans whose overlap is negative or not smaller than the size.
    """
    if size < 1:
        raise ConfigError(f"tiles of {size} pixels are impossible.", "Use 1 or more.")
    if length <= size:
        return Axis((0,), length, 0)
    if not 0 <= overlap < size:
        raise ConfigError(
            f"an overlap of {overlap} pixels does not fit tiles of {size} pixels.",
            f"Use an overlap from 0 to {size - 1}, or larger tiles.",
        )
    starts = (*range(0, length - size, size - overlap), length - size)
    return Axis(starts, size, overlap)


def even_size(length: int, size: int, overlap: int, multiple: int) -> int:
    """The smallest size, a multiple of `multiple`, whose spans are no more than those of `size` pixels.

    2000 pixels in spans of 512 that share 24 take five, of which the last repeats all but 24 pixels of its neighbour;
    five of 420 cover them as well. In both directions that is two thirds of the work.

    Args:
        length: pixels to cover.
        size: of a span (pixels); what is returned where no smaller one does.
        overlap: pixels that neighbours share.
        multiple: what the network takes.
    """
    if length <= size or overlap >= size:
        return size
    count = -(-(length - overlap) // (size - overlap))
    return min(round_up(-(-(length + (count - 1) * overlap) // count), multiple), size)


@dataclasses.dataclass(frozen=True)
class TilePlan:
    """Tiles of one size over a picture, row by row."""

    rows: Axis
    """From top to bottom."""
    columns: Axis
    """From left to right."""

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(top, left) of each tile in pixels."""
        return ((top, left) for top in self.rows.starts for left in self.columns.starts)

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of every tile (pixels)."""
        return self.rows.size, self.columns.size


def plan_tiles(height: int, width: int, tile: tuple[int, int], overlap: int) -> TilePlan:
    """Tiles over height x width pixels.

    Args:
        height: of the picture, 1 or more.
        width: of the picture, 1 or more.
        tile: height and width of a tile; a side longer than the picture's is cut to it.
        overlap: pixels that neighbours share, below both sides of `tile`; without meaning for a single tile.

    Raises:
        ConfigError: an impossible tile or overlap.
    """
    return TilePlan(plan_axis(height, tile[0], overlap), plan_axis(width, tile[1], overlap))


class Blender:
    """Sums weighted tiles straight into the result: its memory is the result and one tile.

    Args:
        plan: the tiles.
        channels: of the result.
        scale: side of the result over side of the picture that the plan covers.
    """

    def __init__(self, plan: TilePlan, channels: int, scale: int = 1) -> None:
        self._scale = scale
        self._row_weights = dict(zip(plan.rows.starts, plan.rows.weights(scale), strict=True))
        self._column_weights = dict(zip(plan.columns.starts, plan.columns.weights(scale), strict=True))
        self.result = np.zeros((plan.rows.length * scale, plan.columns.length * scale, channels), np.float32)
        """[H * scale, W * scale, channels]; complete when every tile was added."""

    def add(self, top: int, left: int, tile: NDArray[np.float32]) -> None:
        """Adds the result [h * scale, w * scale, channels] of the tile at (top, left)."""
        weights = self._row_weights[top][:, None, None] * self._column_weights[left][None, :, None]
        height, width, _ = tile.shape
        y, x = top * self._scale, left * self._scale
        self.result[y : y + height, x : x + width] += weights * tile
