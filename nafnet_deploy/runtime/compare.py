"""What each iteration does to one picture: the pictures, what changed between them, and what the gates let in."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.gates import GateEngine
from nafnet_deploy.errors import ConfigError, MachineError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.metrics import psnr
from nafnet_deploy.runtime.restorer import OnTile, Restorer

MAX_CROP = 2**24
"""Largest region that is shown (pixels); as many of it stay in memory as there are columns."""
_WARM_UP = 2**20
_BLOCK = 8

Pixels = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of a picture (pixels)."""

    x: int
    y: int
    width: int
    height: int

    def of(self, picture: Pixels) -> Pixels:
        """A copy of that part of [H, W, C]."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width].copy()

    def grown(self, margin: int, height: int, width: int) -> Region:
        """With a margin on every side, as far as a picture of height x width reaches."""
        x, y = max(self.x - margin, 0), max(self.y - margin, 0)
        right, bottom = min(self.x + self.width + margin, width), min(self.y + self.height + margin, height)
        return Region(x, y, right - x, bottom - y)


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One number of iterations; arrays cover the region."""

    iterations: int
    """N."""
    picture: Pixels
    """[h, w, 3] in [0, 1]."""
    change: NDArray[np.float32]
    """[h, w], mean over RGB of |this picture - the column before| in steps of 255; before the first is the input."""
    gates: dict[str, NDArray[np.float32]]
    """Per place, in the order they are run: [h, w], mean over channels of the update gate of iteration N, 0 to 1."""
    psnr: float | None
    """Of the whole picture (dB); None without a reference."""
    seconds: float
    """To restore the whole picture, padding and tiles included; one run, after a warm-up below a megapixel."""


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """All columns of one picture."""

    input: Pixels
    """[h, w, 3], as the network was given it; noise may lie outside [0, 1]."""
    psnr: float | None
    """Of the whole input (dB); None without a reference."""
    columns: tuple[Column, ...]
    """In the order of N."""
    region: Region
    """The part that the arrays show."""
    size: tuple[int, int]
    """Height and width of the whole picture (pixels)."""
    engine: str
    """Engine and device as they really were."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Shot:
    """One restoration: the picture, its PSNR and the time it took."""

    picture: Pixels
    psnr: float | None
    seconds: float

    def cut(self, region: Region) -> _Shot:
        return dataclasses.replace(self, picture=region.of(self.picture))


def compare(
    pixels: Pixels,
    reference: Pixels | None,
    manifest: ModelManifest,
    steps: Sequence[int],
    open_engine: Callable[[int], Engine],
    open_gates: Callable[[int], GateEngine] | None,
    crop: Region | None = None,
    side: int = 320,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_tile: OnTile | None = None,
) -> Comparison:
    """Restores a picture with several numbers of iterations, one engine at a time.

    Args:
        pixels: [H, W, 3], black 0 and white 1.
        reference: what it should be, of the same shape; None when nobody knows.
        manifest: contract of the graph.
        steps: the numbers of iterations N, ascending.
        open_engine: opens the engine for N.
        open_gates: opens the gates of iteration N; None leaves them out.
        crop: the region to show; None takes up to `side` x `side` pixels where the iterations differ most.
        side: of that region (pixels).
        on_step: told (N just done, largest N).
        on_tile: told about the tiles of the current one.

    Raises:
        ConfigError: a network that enlarges, or a crop that does not lie in the picture.
        ImageError, EngineError: see `Restorer`.
        MachineError: memory ran out.
    """
    height, width = pixels.shape[:2]
    if manifest.scale != 1:
        raise ConfigError(f"{manifest.name} enlarges pictures.", "Compare a network that keeps their size.")
    if crop is not None:
        _check_crop(crop, height, width)
    engine_name, whole = "", True

    def restore(n: int) -> _Shot:
        nonlocal engine_name, whole
        with open_engine(n) as engine:
            engine_name = engine.name
            restorer = Restorer(engine, manifest)
            whole = len(restorer.plan(height, width)) == 1
            try:
                if height * width <= _WARM_UP:
                    restorer.in_unit_range(pixels)
                start = time.perf_counter()
                picture = restorer.in_unit_range(pixels, on_tile)
                seconds = time.perf_counter() - start
            except MemoryError as error:
                raise MachineError("the memory does not suffice for this picture.", "Compare a part of it.") from error
        on_step(n, steps[-1])
        return _Shot(picture, None if reference is None else psnr(picture, reference), seconds)

    # first and last before the others: where they differ decides what is shown, and of the others only that is kept
    shots = {steps[0]: restore(steps[0])}
    if len(steps) > 1:
        shots[steps[-1]] = restore(steps[-1])
    before = shots[steps[0]].picture if len(steps) > 1 else pixels
    region = crop or most_changed(before, shots[steps[-1]].picture, side)
    shots = {n: shot.cut(region) for n, shot in shots.items()}
    del before
    for n in steps[1:-1]:
        shots[n] = restore(n).cut(region)
    columns, last = [], region.of(pixels)
    for n in steps:
        shot = shots[n]
        change = np.abs(shot.picture - last).mean(axis=2) * np.float32(255)
        gates = {} if open_gates is None else _gates(open_gates, n, manifest, pixels, region, whole)
        columns.append(Column(n, shot.picture, change, gates, shot.psnr, shot.seconds))
        last = shot.picture
    own = None if reference is None else psnr(pixels, reference)
    return Comparison(region.of(pixels), own, tuple(columns), region, (height, width), engine_name)


def most_changed(before: Pixels, after: Pixels, side: int) -> Region:
    """The region of at most `side` x `side` pixels with the largest sum of |after - before|, to 8 pixels.

    Args:
        before, after: [H, W, 3].
        side: in pixels; a side of the picture that is shorter is taken whole.
    """
    height, width = before.shape[:2]
    h, w = min(side, height), min(side, width)
    rows, across = -(-height // _BLOCK), -(-width // _BLOCK)
    sums = np.zeros((rows + 1, across + 1))
    for row in range(rows):  # row by row of blocks: the difference of a large picture would double its memory
        band = slice(row * _BLOCK, (row + 1) * _BLOCK)
        line = np.abs(after[band] - before[band]).sum(axis=(0, 2), dtype=np.float64)
        sums[row + 1, 1:] = np.add.reduceat(line, np.arange(0, width, _BLOCK))
    sums = sums.cumsum(axis=0).cumsum(axis=1)
    down, right = min(-(-h // _BLOCK), rows), min(-(-w // _BLOCK), across)
    inside = sums[down:, right:] - sums[:-down, right:] - sums[down:, :-right] + sums[:-down, :-right]
    if inside.max() <= 0:  # nothing changed anywhere: the middle is as good as any
        return Region((width - w) // 2, (height - h) // 2, w, h)
    y, x = (int(i) * _BLOCK for i in np.unravel_index(np.argmax(inside), inside.shape))
    return Region(min(x, width - w), min(y, height - h), w, h)


def _check_crop(crop: Region, height: int, width: int) -> None:
    inside = crop.x >= 0 and crop.y >= 0 and crop.width >= 1 and crop.height >= 1
    if not inside or crop.x + crop.width > width or crop.y + crop.height > height:
        raise ConfigError(
            f"--crop {crop.x},{crop.y},{crop.width},{crop.height} does not lie in the picture of {width}x{height}.",
            "Give X,Y,W,H in pixels, e.g. --crop 0,0,64,64.",
        )
    if crop.width * crop.height > MAX_CROP:
        raise ConfigError(
            f"--crop {crop.width}x{crop.height} is too large to show.",
            f"Use up to {MAX_CROP / 1e6:.0f} million pixels, or leave it out.",
        )


def _gates(
    open_gates: Callable[[int], GateEngine],
    n: int,
    manifest: ModelManifest,
    pixels: Pixels,
    region: Region,
    whole: bool,
) -> dict[str, NDArray[np.float32]]:
    """The gates over the region: from the whole picture where that was restored whole, else with a tile's margin."""
    height, width = pixels.shape[:2]
    window = Region(0, 0, width, height) if whole else region.grown(manifest.tile_overlap, height, width)
    with open_gates(n) as engine:
        maps = Restorer(engine, manifest).in_unit_range(window.of(pixels))
        places = engine.places
    inner = Region(region.x - window.x, region.y - window.y, region.width, region.height).of(maps)
    return {place: inner[..., i] for i, place in enumerate(places)}
