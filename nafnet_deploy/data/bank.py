"""Decoded pictures, and which of them are large enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.data.pairs import Pair
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import read_picture, read_size

Pixels = NDArray[np.uint8]


class PictureBank:
    """Decoded pictures (uint8 [H, W, 3 x views]) by pair, kept in memory as far as it goes.

    Args:
        pairs: what `find_pairs` found.
        cache: memory for decoded pictures (MiB).
        scale: side of a clean picture over that of its degraded one.
    """

    def __init__(self, pairs: Sequence[Pair], cache: int, scale: int = 1) -> None:
        self.pairs, self.scale = list(pairs), scale
        self.planes = 6 if any(pair.right for pair in self.pairs) else 3
        self._room = cache * 2**20
        self._kept: dict[Path, Pixels] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[Pixels | None, Pixels]:
        """(degraded or None, clean) of a pair. `ImageError` when it cannot be read or its sizes do not fit."""
        pair = self.pairs[index]
        clean = self._views(pair.clean, pair.right.clean if pair.right else None)
        if pair.degraded is None:
            return None, clean
        degraded = self._views(pair.degraded, pair.right.degraded if pair.right else None)
        if tuple(self.scale * side for side in degraded.shape[:2]) != clean.shape[:2]:
            raise ImageError(f"{pair.degraded} and {pair.clean} do not fit in size.", "Take the pair out.")
        return degraded, clean

    def _views(self, left: Path, right: Path | None) -> Pixels:
        if right is None:
            return self._picture(left)
        views = self._picture(left), self._picture(right)
        if views[0].shape != views[1].shape:
            raise ImageError(f"{left} and {right} differ in size.", "Take the pair out.")
        return np.concatenate(views, axis=2)

    def _picture(self, path: Path) -> Pixels:
        if path in self._kept:
            return self._kept[path]
        pixels = np.round(read_picture(path).pixels * 255).astype(np.uint8)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[path] = pixels
        return pixels


def large_enough(pairs: Sequence[Pair], smallest: int, on_skip: Callable[[str], None]) -> list[Pair]:
    """The pairs whose clean picture is at least `smallest` pixels high and wide, by their files' headers.

    The others, and files that are no pictures, are told to `on_skip`.

    Raises:
        ConfigError: none is left.
    """
    kept = []
    for pair in pairs:
        try:
            height, width = read_size(pair.clean)
        except ImageError as error:
            on_skip(f"{pair.clean.name} is skipped: {error.message}")
            continue
        if min(width, height) < smallest:
            on_skip(f"{pair.clean.name} is skipped: {width}x{height} is smaller than {smallest}x{smallest}.")
        else:
            kept.append(pair)
    if not kept:
        raise ConfigError(
            f"none of the {len(pairs)} pictures can be used.",
            f"They must be pictures of {smallest}x{smallest} or more.",
        )
    return kept
