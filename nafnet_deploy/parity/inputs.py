"""Seeded test pictures and the shapes at which a graph is checked. NumPy only, so any machine can make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.manifest import ModelManifest

SIZES = ((64, 64), (96, 160), (256, 256))
"""Heights and widths (pixels): small, not square, and the size of the benchmark."""
BATCHES = (1, 3)
"""Batch sizes: the common one, and one that shows rows leaking into each other."""

NOISE = 0.05
"""Standard deviation of the fine noise of a natural picture (white is 1)."""


def natural_batch(shape: tuple[int, int, int, int], seed: int, noise: float = NOISE) -> NDArray[np.float32]:
    """Different natural-looking pictures: smooth structure over several scales, hard edges and fine noise.

    White noise alone would leave the deep, smooth features of a restoration network almost unused.

    Args:
        shape: [B, C, H, W], any sizes from 1.
        seed: the same seed and shape give the same values.
        noise: standard deviation of the fine noise; the rest of the picture is the same for every value.

    Returns:
        float32 [B, C, H, W] in [0, 1].
    """
    rng = np.random.default_rng(seed)
    batch, channels, height, width = shape
    result = np.zeros(shape)
    rows = np.linspace(0.0, 1.0, height)[:, None]
    columns = np.linspace(0.0, 1.0, width)[None, :]
    for cells in (2, 4, 8, 16):
        grid = rng.normal(size=(batch, channels, cells + 1, cells + 1)) / cells
        result += _interpolation(height, cells) @ grid @ _interpolation(width, cells).T
    for b in range(batch):
        for _ in range(4):  # discs: edges that a smooth field lacks
            y, x, radius = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0), rng.uniform(0.05, 0.3)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            result[b] += disc * rng.normal(scale=0.3, size=(channels, 1, 1))
    result = 0.5 + 0.35 * result + rng.normal(scale=noise, size=shape)
    return np.clip(result, 0.0, 1.0).astype(np.float32)


def _interpolation(size: int, cells: int) -> NDArray[np.float64]:
    """Matrix [size, cells + 1] that interpolates a line of cells + 1 grid values linearly to `size` pixels."""
    position = np.linspace(0.0, cells, size)[:, None]
    return np.maximum(0.0, 1.0 - np.abs(position - np.arange(cells + 1)))


def parity_shapes(
    manifest: ModelManifest, sizes: Sequence[tuple[int, int]] = SIZES, batches: Sequence[int] = BATCHES
) -> list[tuple[int, int, int, int]]:
    """The input shapes [B, C, H, W] at which a graph is checked.

    Every size with every batch, heights and widths raised to the manifest's size multiple; where the graph fixes
    a dimension, that value alone.
    """
    batch, _, height, width = manifest.inputs[0].shape
    multiple = manifest.size_multiple
    return list(
        dict.fromkeys(  # keeps the order and drops what became equal
            (
                batch if isinstance(batch, int) else b,
                manifest.model.planes,
                height if isinstance(height, int) else -(-h // multiple) * multiple,
                width if isinstance(width, int) else -(-w // multiple) * multiple,
            )
            for h, w in sizes
            for b in batches
        )
    )
