"""Tiles through an engine: padded, in batches, and as an ensemble of flips and turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, announce, restore_batch, size_limits
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.images.padding import crop, pad_to, round_up
from nafnet_deploy.images.tiling import TilePlan
from nafnet_deploy.images.turns import TURNS, back, turned
from nafnet_deploy.manifest import ModelManifest

Place = tuple[int, int]
"""Top and left of a tile (pixels)."""
Cut = Callable[[int, int], NDArray[np.float32]]
"""Gives the tile at (top, left), float32 [h, w, 3 x views]."""


class TileRunner:
    """Runs an engine over tiles.

    Args:
        engine: open, with one input [B, 3 x views, H, W] and one output.
        manifest: the contract of its graph.
        ensemble: run each tile in its 8 flips and turns and take the mean.

    Raises:
        ConfigError: an ensemble of stereo pairs, or with a graph whose fixed size is not square.
    """

    def __init__(self, engine: Engine, manifest: ModelManifest, ensemble: bool) -> None:
        self._engine, self._manifest, self._ensemble = engine, manifest, ensemble
        batch, *_, height, width = engine.inputs[0].shape
        self._batch = batch if isinstance(batch, int) else 1
        self._fixed = tuple(side if isinstance(side, int) else None for side in (height, width))
        limits = size_limits(engine)
        self._least = (1, 1) if limits is None else limits.smallest
        if ensemble and manifest.model.views > 1:
            raise ConfigError("a stereo pair has no flips and turns: its views have an order.", "Leave out --ensemble.")
        if ensemble and self._fixed[0] != self._fixed[1]:
            raise ConfigError(f"a graph of {height}x{width} pixels takes no turned tile.", "Leave out --ensemble.")

    def announce(self, tiles: int) -> None:
        """Tells an engine that counts per picture that a new one begins, and how many runs its tiles take."""
        announce(self._engine, len(TURNS) * tiles if self._ensemble else -(-tiles // self._batch))

    def tiles(self, cut: Cut, places: list[Place], plan: TilePlan) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Restores tiles.

        Args:
            cut: gives the pixels of a tile of the plan's size.
            places: the tiles wanted.
            plan: how large tiles are.

        Yields:
            The place of each tile in turn and its result [h * scale, w * scale, 3 x views], not clipped.

        Raises:
            EngineError: the engine failed or gave values that are not numbers.
        """
        if not self._ensemble:
            for some, batch in self.batches(cut, places, plan.tile):
                restored = restore_batch(self._engine, batch)[: len(some)]
                yield from ((p, self.unpadded(t, plan.tile, p)) for p, t in zip(some, restored, strict=True))
            return
        for place in places:
            tile = cut(*place)
            total = np.zeros((), np.float32)
            for turn in TURNS:
                view = turned(tile, turn)
                size = (view.shape[0], view.shape[1])
                for _, batch in self.batches(lambda top, left, view=view: view, [place], size):  # type: ignore[misc]
                    restored = restore_batch(self._engine, batch)[0]
                    total = total + back(self.unpadded(restored, size, place), turn)
            yield place, np.asarray(total / len(TURNS), np.float32)

    def unpadded(self, tile: NDArray[np.float32], size: tuple[int, int], place: Place) -> NDArray[np.float32]:
        """A tile [3, H, W] of the engine without its padding, [h * scale, w * scale, 3] for the size (h, w).

        Raises:
            EngineError: it holds values that are not numbers.
        """
        scale = self._manifest.scale
        result = crop(tile, size[0] * scale, size[1] * scale).transpose(1, 2, 0)
        if not np.isfinite(result).all():
            raise EngineError(
                f"{self._engine.name} gave values that are not numbers for the tile at {place[1]},{place[0]}.",
                "Nothing was written. Check the graph with: nafdeploy parity",
            )
        return result

    def batches(
        self, cut: Cut, every: list[Place], tile: tuple[int, int]
    ) -> Iterator[tuple[list[Place], NDArray[np.float32]]]:
        """Tiles of one size, padded; a graph of a fixed batch gets its last one filled up with repeats."""
        planes, multiple = 3 * self._manifest.model.views, self._manifest.size_multiple
        dtype = np.dtype(self._engine.inputs[0].dtype)
        height = self._fixed[0] or max(round_up(tile[0], multiple), self._least[0])
        width = self._fixed[1] or max(round_up(tile[1], multiple), self._least[1])
        for i in range(0, len(every), self._batch):
            places = every[i : i + self._batch]
            batch = np.empty((self._batch, planes, height, width), dtype)
            for slot, place in enumerate(places):
                batch[slot] = pad_to(cut(*place).transpose(2, 0, 1), height, width, self._manifest.padding)
            batch[len(places) :] = batch[len(places) - 1]
            yield places, batch
