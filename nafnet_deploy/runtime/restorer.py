"""Array in, array out: pads, tiles and blends around an engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.anytime import AnytimeEngine, Outcome
from nafnet_deploy.engines.base import Engine, size_limits
from nafnet_deploy.errors import ConfigError, EngineError, ImageError
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.images.tiling import Blender, TilePlan, even_size, plan_tiles
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.memory import ENGINE_SHARE, FIXED, memory_budget, resident_memory
from nafnet_deploy.runtime.tile_runner import Cut, Place, TileRunner

MAX_AUTO_TILE = 1024
"""Largest side of a tile that `auto` chooses (pixels); beyond it the overlap costs next to nothing."""

OnTile = Callable[[int, int], None]
"""Told (tiles done, tiles in all) after each tile."""


class Restorer:
    """Restores pictures of any size with an engine.

    Args:
        engine: an open engine with one input and one output; the caller closes it.
        manifest: the contract of its graph.
        tile: `auto` takes the whole picture where the network's activations fit `memory` and the engine takes it,
            and otherwise tiles that do, as many as sides of at most 1024 pixels make necessary and no larger than
            so many need be; `off` always takes the whole picture; a number is the tile's side (pixels). A graph of
            one fixed size decides for itself.
        overlap: pixels that neighbouring tiles share; None takes the manifest's advice, at most half a tile.
        memory: bytes for activations; None takes a quarter of what is available when a picture arrives.
        ensemble: restore each tile in its 8 flips and turns and take the mean, for 8 times the work.
        limit: bytes that the whole process may take while it restores a file; None leaves it to the machine.

    Raises:
        ConfigError: an impossible tile or overlap, or a tile that the graph's fixed size rules out.
        EngineError: a graph that does not map [B, 3 x views, H, W] to one picture.

    Of a stereo network the picture is both views, [H, W, 6], and a tile spans the width: what one view shows may lie
    anywhere along the same rows of the other.
    """

    def __init__(
        self,
        engine: Engine,
        manifest: ModelManifest,
        tile: str | int = "auto",
        overlap: int | None = None,
        memory: int | None = None,
        ensemble: bool = False,
        limit: int | None = None,
    ) -> None:
        self._engine, self._manifest = engine, manifest
        self._tile, self._overlap, self._memory = tile, overlap, memory
        self._limit = limit
        if len(engine.inputs) != 1 or len(engine.outputs) != 1 or len(engine.inputs[0].shape) != 4:
            raise EngineError(f"{manifest.name} does not map one picture to one picture.", "Export it again.")
        _, channels, *sides = engine.inputs[0].shape
        self._planes = 3 * manifest.model.views
        if isinstance(channels, int) and channels != self._planes:
            raise EngineError(
                f"{manifest.name} takes {channels} channels, pictures have {self._planes}.", "Use an RGB network."
            )
        self._fixed = tuple(side if isinstance(side, int) else None for side in sides)
        limits = size_limits(engine)
        self._most = (math.inf, math.inf) if limits is None else limits.largest
        self._runner = TileRunner(engine, manifest, ensemble)
        self._check_options()

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._engine

    @property
    def manifest(self) -> ModelManifest:
        """The contract of the engine's graph."""
        return self._manifest

    @property
    def limit(self) -> int | None:
        """Bytes that the whole process may take; None for no limit."""
        return self._limit

    @property
    def views(self) -> int:
        """Pictures that are restored together, side by side in the channels."""
        return self._manifest.model.views

    @property
    def value_range(self) -> tuple[float, float]:
        """Values of black and white in the arrays taken and given."""
        return self._manifest.value_range

    @property
    def outcomes(self) -> list[Outcome]:
        """What each tile of the last picture got, from an engine that decides how long to think; else empty."""
        return self._engine.outcomes if isinstance(self._engine, AnytimeEngine) else []

    def _check_options(self) -> None:
        tile, multiple = self._tile, self._manifest.size_multiple
        if isinstance(tile, str):
            if tile not in ("auto", "off"):
                raise ConfigError(f"the tile {tile!r} is unknown.", "Use auto, off or a number of pixels.")
        elif any(side not in (None, tile) for side in self._fixed):
            raise ConfigError(f"tiles of {tile} pixels do not fit a graph of {self._fixed_size()}.", "Use --tile auto.")
        elif tile < multiple:
            raise ConfigError(f"a tile of {tile} pixels is too small.", f"Use {multiple} or more.")
        if self._overlap is not None and self._overlap < 0:
            raise ConfigError(f"an overlap of {self._overlap} pixels is impossible.", "Use 0 or more.")
        known = [s for s in (*self._fixed, None if isinstance(tile, str) else tile) if s is not None]
        if tile == "auto" and not known and self._overlap is not None and 2 * self._overlap > MAX_AUTO_TILE:
            raise ConfigError(
                f"an overlap of {self._overlap} pixels does not fit automatic tiles of up to {MAX_AUTO_TILE} pixels.",
                f"Use an overlap from 0 to {MAX_AUTO_TILE // 2}, or a larger --tile.",
            )
        if self._overlap is not None and known and self._overlap >= min(known):
            raise ConfigError(
                f"an overlap of {self._overlap} pixels does not fit tiles of {min(known)} pixels.",
                f"Use an overlap from 0 to {min(known) - 1}, or larger tiles.",
            )

    def plan(self, height: int, width: int, side: int | None = None) -> TilePlan:
        """The tiles that a picture of height x width pixels is cut into; `side` takes the place of automatic ones.

        Raises:
            ConfigError: tiling is off and the graph's fixed size is smaller than the picture.
        """
        side = self._side(height, width) if side is None or self._tile != "auto" else side
        across = None if self.views > 1 else side
        tile = (self._fixed[0] or side or height, self._fixed[1] or across or width)
        if self._tile == "off" and (tile[0] < height or tile[1] < width):
            raise ConfigError(
                f"the graph takes {self._fixed_size()} pixels and the picture has {height}x{width}.", "Use --tile auto."
            )
        overlap = self._overlap
        if overlap is None:
            overlap = min(self._manifest.tile_overlap, min(tile) // 2)
        if self._tile == "auto":
            multiple, least = self._manifest.size_multiple, self.least_tile
            down = self._fixed[0] or max(even_size(height, tile[0], overlap, multiple), min(tile[0], least))
            right = self._fixed[1] or max(even_size(width, tile[1], overlap, multiple), min(tile[1], least))
            tile = (down, right)
        return plan_tiles(height, width, tile, overlap)

    def _side(self, height: int, width: int) -> int | None:
        """Side of a square tile, None for the whole picture."""
        multiple = self._manifest.size_multiple
        if isinstance(self._tile, int):
            return round_up(self._tile, multiple)
        if self._tile == "off":
            return None
        budget = self._budget(height * width)
        whole = round_up(height, multiple), round_up(width, multiple)
        per_pixel = self._manifest.activation_bytes_per_pixel + self._manifest.activation_bytes_per_column * whole[1]
        pixels = budget / max(per_pixel, 1.0)
        if whole[0] * whole[1] <= pixels and whole[0] <= self._most[0] and whole[1] <= self._most[1]:
            return None
        largest = int(pixels / whole[1]) if self.views > 1 else int(math.sqrt(pixels))
        side = max(min(largest, MAX_AUTO_TILE) // multiple * multiple, self.least_tile)
        return int(min(side, *self._most))

    @property
    def least_tile(self) -> int:
        """The smallest side of a tile that is taken unasked (pixels)."""
        overlap = self._manifest.tile_overlap if self._overlap is None else self._overlap
        # a tile of less than twice its overlap would compute every pixel four times and more
        side = round_up(max(2 * overlap, self._manifest.tile_least), self._manifest.size_multiple)
        return int(min(side, *self._most))

    def _budget(self, pixels: int) -> int:
        """Bytes for activations, when a picture of so many pixels is in memory."""
        if self._memory is not None:
            return self._memory
        if self._limit is None:
            return memory_budget()
        results = 2 * 4 * self._planes * self._manifest.scale**2 * pixels
        return max(int((self._limit - resident_memory() - FIXED - results) / ENGINE_SHARE), 0)

    def __call__(self, image: NDArray[np.float32], on_tile: OnTile | None = None) -> NDArray[np.float32]:
        """Restores one picture.

        Args:
            image: float32 [H, W, 3 x views] within `value_range`, any H and W from 1.
            on_tile: told about progress.

        Returns:
            float32 [H * scale, W * scale, 3 x views], clipped to `value_range`.

        Raises:
            ImageError: an array of another type or shape.
            ConfigError: see `plan`.
            EngineError: the engine failed or gave values that are not numbers.
        """
        if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != self._planes or 0 in image.shape:
            raise ImageError(
                f"a float32 [H, W, {self._planes}] picture is needed, not {image.dtype} {list(image.shape)}."
            )
        plan, scale = self.plan(*image.shape[:2]), self._manifest.scale
        blender = Blender(plan, self._planes, scale) if len(plan) > 1 else None
        (height, width), result = plan.tile, image
        self.announce(len(plan))
        tiles = self.tiles(lambda y, x: image[y : y + height, x : x + width], list(plan), plan)
        for done, ((top, left), result) in enumerate(tiles, 1):
            if blender is not None:
                blender.add(top, left, result)
            if on_tile is not None:
                on_tile(done, len(plan))
        if blender is not None:
            result = blender.result
        result = np.ascontiguousarray(result, np.float32)
        return np.clip(result, *self.value_range, out=result)

    def in_unit_range(self, pixels: NDArray[np.float32], on_tile: OnTile | None = None) -> NDArray[np.float32]:
        """Restores pixels [H, W, 3 x views] whose black is 0 and whose white is 1, whatever the network counts from.

        Raises:
            ImageError, ConfigError, EngineError: as for a call.
        """
        return self.to_unit(self(self.from_unit(pixels), on_tile))

    def from_unit(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pixels in [0, 1] as the network counts them."""
        black, white = self.value_range
        return pixels if (black, white) == (0.0, 1.0) else pixels * np.float32(white - black) + np.float32(black)

    def to_unit(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pixels as the network counts them in [0, 1]."""
        black, white = self.value_range
        return pixels if (black, white) == (0.0, 1.0) else (pixels - np.float32(black)) / np.float32(white - black)

    def announce(self, tiles: int) -> None:
        """Tells an engine that counts per picture that a new one begins, of so many tiles."""
        self._runner.announce(tiles)

    def tiles(self, cut: Cut, places: list[Place], plan: TilePlan) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Restores tiles of a picture that need not be in memory as a whole; see `TileRunner.tiles`."""
        return self._runner.tiles(cut, places, plan)

    def unpadded(self, tile: NDArray[np.float32], plan: TilePlan, place: Place) -> NDArray[np.float32]:
        """A tile of the engine without its padding; see `TileRunner.unpadded`."""
        return self._runner.unpadded(tile, plan.tile, place)

    def batches(self, image: NDArray[np.float32], plan: TilePlan) -> Iterator[tuple[list[Place], NDArray[np.float32]]]:
        """All tiles of a picture [H, W, 3 x views], padded, as the engine takes them."""
        height, width = plan.tile
        return self._runner.batches(lambda y, x: image[y : y + height, x : x + width], list(plan), plan.tile)

    def _fixed_size(self) -> str:
        return "x".join("any" if side is None else str(side) for side in self._fixed)
