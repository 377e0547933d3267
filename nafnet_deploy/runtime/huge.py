"""Pictures restored in parts: the memory is bounded by what the user gives, not by the picture.

The picture is read and written in bands of rows, one row of tiles at a time. Tiles, weights and their order are those
of a picture in memory, so the result is the same to the last rounding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.encoding import RowWriter
from nafnet_deploy.images.files import MAX_PIXELS, read_size
from nafnet_deploy.images.picture import Picture, Samples, to_samples, to_unit_range
from nafnet_deploy.images.tiling import TilePlan
from nafnet_deploy.images.windows import MOST_PIXELS, Rows, open_rows, write_rows
from nafnet_deploy.runtime.memory import ENGINE_SHARE, FIXED, available_memory, resident_memory
from nafnet_deploy.runtime.restorer import MAX_AUTO_TILE, OnTile, Restorer

_WHOLE_BYTES = 48
"""Bytes per pixel of a picture in memory, result and encoder included, the network's activations apart (28 seen)."""
_WRITE_ROWS = 128


def in_parts(restorer: Restorer, source: Path) -> bool:
    """Whether a picture is too large to be restored in memory.

    That is so where it would pass the restorer's limit or `MAX_PIXELS`; without a limit, where the machine's memory
    does not hold it and the extra that reads in parts is there.

    Raises:
        ImageError: as `read_size`.
    """
    height, width = read_size(source, MOST_PIXELS)
    if height * width > MAX_PIXELS:
        return True
    bytes_needed = _WHOLE_BYTES * restorer.manifest.scale**2 * height * width
    if restorer.limit is not None:
        least = min(restorer.least_tile, height) * min(restorer.least_tile, width)
        return resident_memory() + FIXED + bytes_needed + _activations(restorer, least) > restorer.limit
    available = available_memory()
    return available is not None and bytes_needed > available and importlib.util.find_spec("pyvips") is not None


def restore_in_parts(restorer: Restorer, source: Path, target: Path, on_tile: OnTile | None = None) -> None:
    """Restores a picture of up to a gigapixel into a PNG or a tiled TIFF, reading and writing as it goes.

    Tiles are as large as the restorer's limit allows (half of the available memory where it has none). `target`
    takes its name when all is written.

    Raises:
        UsageError: the target is the source.
        ImageError: the source cannot be read, or not in parts; the target cannot be written.
        ConfigError: the limit is too small, with the smallest that suffices; see `Restorer`.
        MissingDependency: pyvips is not installed.
        EngineError: see `Restorer`.
    """
    if restorer.views > 1:
        raise ImageError("a stereo pair is not restored in parts.", "Give a larger --memory, or smaller pictures.")
    scale = restorer.manifest.scale
    with open_rows(source) as rows:
        height, width, _ = rows.shape
        if rows.nature.alpha is not None and scale > 1:
            raise ImageError(f"{source} has transparency, which is not enlarged in parts.", "Remove it first.")
        plan = _plan(restorer, rows)
        with write_rows(rows.nature, target, height * scale, width * scale) as writer:
            restorer.announce(len(plan))
            done = 0
            for done, _ in enumerate(_restored(restorer, rows, plan, writer), 1):
                if on_tile is not None:
                    on_tile(done, len(plan))


def _restored(restorer: Restorer, rows: Rows, plan: TilePlan, writer: RowWriter) -> Iterator[None]:
    """Restores row after row of tiles and writes what no later tile reaches; yields after each tile."""
    scale, grey = restorer.manifest.scale, rows.nature.grey
    (tall, wide), (_, width, channels) = plan.tile, rows.shape
    tops = plan.rows.starts
    row_weights = plan.rows.weights(scale)
    column_weights = dict(zip(plan.columns.starts, plan.columns.weights(scale), strict=True))
    stored: Samples = np.empty((tall, width, channels), f"u{rows.nature.bits // 8}")
    blended = np.zeros((tall * scale, width * scale, 3), np.float32)
    read = 0
    for i, top in enumerate(tops):
        stored[: read - top] = stored[tall - (read - top) :] if i else stored[:0]
        for begin in range(read, top + tall, _WRITE_ROWS):  # a few rows at a time: the decoder's copy stays small
            count = min(_WRITE_ROWS, top + tall - begin)
            stored[begin - top : begin - top + count] = rows.read(begin, count)
        read = top + tall

        def cut(_: int, left: int) -> NDArray[np.float32]:
            samples = stored[:, left : left + wide, : 1 if grey else 3]
            unit = to_unit_range(samples)
            return restorer.from_unit(np.repeat(unit, 3, axis=2) if grey else unit)

        for (_, left), tile in restorer.tiles(cut, [(top, left) for left in plan.columns.starts], plan):
            weights = row_weights[i][:, None, None] * column_weights[left][None, :, None]
            blended[:, left * scale : left * scale + tile.shape[1]] += weights * tile
            yield
        final = (tops[i + 1] - top if i + 1 < len(tops) else tall) * scale
        _write(restorer, rows.nature, stored, blended[:final], writer)
        kept = len(blended) - final
        blended[:kept] = blended[final:]
        blended[kept:] = 0


def _write(
    restorer: Restorer, nature: Picture, stored: Samples, blended: NDArray[np.float32], writer: RowWriter
) -> None:
    """Writes rows that are done, in the source's nature."""
    for top in range(0, len(blended), _WRITE_ROWS):
        part = blended[top : top + _WRITE_ROWS]
        alpha = stored[top : top + len(part), :, -1]
        band = Picture(
            pixels=restorer.to_unit(np.clip(part, *restorer.value_range)),
            alpha=None if nature.alpha is None else alpha,
            bits=nature.bits,
            grey=nature.grey,
            icc=None,
            exif=None,
            dpi=None,
            source=nature.source,
        )
        writer.rows(to_samples(band))


def _plan(restorer: Restorer, rows: Rows) -> TilePlan:
    """The plan of the largest tiles that the memory allows.

    Raises:
        ConfigError: it does not allow any.
    """
    height, width, _ = rows.shape
    resident = resident_memory()
    allowed = resident + (available_memory() or 4 * 10**9) // 2 if restorer.limit is None else restorer.limit
    multiple, least = restorer.manifest.size_multiple, restorer.least_tile
    sides = range(max(MAX_AUTO_TILE // multiple * multiple, least), least - 1, -multiple)
    plans = (restorer.plan(height, width, side) for side in sides)
    smallest = restorer.plan(height, width, least)
    found = next((plan for plan in plans if _bytes(restorer, rows, plan) <= allowed - resident), None)
    if found is None:
        needed = -(-(resident + _bytes(restorer, rows, smallest)) // 10**6)
        raise ConfigError(
            f"{allowed / 1e6:.0f} MB of memory do not suffice for {rows.nature.source} ({width}x{height}).",
            f"At least {needed} MB are needed: --memory {needed}MB, for each of several --workers.",
        )
    return found


def _bytes(restorer: Restorer, rows: Rows, plan: TilePlan) -> int:
    """What restoring in parts takes beyond what the process has."""
    (tall, wide), (_, width, channels) = plan.tile, rows.shape
    area, sample = restorer.manifest.scale**2, rows.nature.bits // 8
    band = width * tall * (channels * sample + 12 * area)
    passing = width * _WRITE_ROWS * (3 * channels * sample + 28 * area) + 2 * width * 256 * channels * sample * area
    tiles = tall * wide * 3 * 4 * (2 + 3 * area)
    return int(FIXED + rows.decoder_bytes + band + passing + tiles + _activations(restorer, tall * wide))


def _activations(restorer: Restorer, pixels: int) -> int:
    return int(ENGINE_SHARE * restorer.manifest.activation_bytes_per_pixel * pixels)
