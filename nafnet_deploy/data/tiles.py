"""Full frames cut into overlapping tiles, which training reads faster than whole frames."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePath

import numpy as np

from nafnet_deploy.data.outputs import (
    Failure,
    OnFile,
    distinct_stems,
    is_of_the_disk,
    list_pictures,
    make_folder,
    refuse_existing,
    refuse_input_folders,
    together,
)
from nafnet_deploy.data.pairs import survey
from nafnet_deploy.errors import ConfigError, NafdeployError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.tiling import plan_axis
from nafnet_deploy.images.writing import write_picture

BORDERS = ("shift", "drop")
PAIRED = (("degraded", "clean"), ("blur", "sharp"))
"""Sub-folders that make a folder a paired one."""


@dataclasses.dataclass(frozen=True)
class TileConfig:
    """How frames are cut."""

    size: int = 512
    """Side of a square tile (pixels)."""
    overlap: int = 256
    """Pixels that neighbours share."""
    border: str = "shift"
    """What becomes of a remainder that a whole step does not fill: `shift` moves the last tile back so that it ends
    at the border, `drop` leaves the remainder out. 1280x720 at 512 and 256 gives 4 x 2 = 8 tiles by `shift` and
    4 x 1 = 4 by `drop`, which never sees the lowest 208 rows."""
    overwrite: bool = False
    """Replace the tiles of a picture that was cut before."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"--size {self.size} is impossible.", "Use 1 or more.")
        if not 0 <= self.overlap < self.size:
            raise ConfigError(f"--overlap {self.overlap} is impossible.", f"Use 0 to {self.size - 1}.")
        if self.border not in BORDERS:
            raise ConfigError(f"--border {self.border} is unknown.", f"Use {' or '.join(BORDERS)}.")


@dataclasses.dataclass(frozen=True)
class TileResult:
    """What became of a folder."""

    kinds: tuple[str, ...]
    """Sub-folders that were cut in step; one empty name for the folder itself."""
    frames: int
    """Frames, or pairs of frames, that were cut."""
    tiles: int
    """Tiles written; of a pair, those of one of its frames."""
    failed: tuple[Failure, ...]
    """Frames that were left out, in name order."""


def tile_starts(length: int, config: TileConfig) -> tuple[int, ...]:
    """First pixel of each tile along a side of `length` pixels; one tile where the side is not longer than it."""
    if config.border == "drop" and length > config.size:
        return tuple(range(0, length - config.size + 1, config.size - config.overlap))
    return plan_axis(length, config.size, config.overlap).starts


def tile_folder(
    folder: Path, out: Path, config: TileConfig, on_file: OnFile = lambda source, number, total: None
) -> TileResult:
    """Cuts every picture of a folder into PNG tiles, and goes on after a bad one.

    A folder with the sub-folders of `PAIRED`, or with one such folder per sequence, is cut in pairs: both frames at
    the same places, into sub-folders of the same names, or neither. The name tells the place of the first pixel:
    `a_y000256_x000512.png`; a frame of a sequence gets the sequence's name in front. A side that is not longer
    than a tile is kept whole. Depth, grey, transparency and profile are kept, EXIF is not.

    Raises:
        ConfigError: degraded and clean files that do not pair.
        UsageError: no pictures, an output among the inputs, or tiles that exist and may not be replaced.
        ImageError: the disk does not take a file.
    """
    kinds, frames, failed = _frames(folder)
    targets = [out / kind for kind in kinds]
    refuse_input_folders({folder, *(path.parent for paths in frames for path in paths)}, [out, *targets])
    relative = [PurePath(_flat(paths[0].relative_to(folder), kinds[0])) for paths in frames]
    stems = distinct_stems(relative)
    old = _tiles_of(stems, targets)
    refuse_existing(sorted(path for paths in old.values() for path in paths), config.overwrite)
    for target in targets:
        make_folder(target)
    cut = count = 0
    for number, (paths, stem) in enumerate(zip(frames, stems, strict=True), 1):
        on_file(paths[0], number, len(frames))
        try:
            pictures = [read_picture(path) for path in paths]
        except NafdeployError as error:
            failed.append(Failure(paths[0], error))
            continue
        try:
            written = _cut(pictures, targets, stem, config)
        except NafdeployError as error:
            if is_of_the_disk(error):
                raise
            failed.append(Failure(paths[0], error))
            continue
        cut, count = cut + 1, count + len(written) // len(targets)
        for path in old.get(stem, set()).difference(written):  # of another size: they would count twice
            path.unlink(missing_ok=True)
    return TileResult(kinds, cut, count, tuple(failed))


def _frames(folder: Path) -> tuple[tuple[str, ...], list[tuple[Path, ...]], list[Failure]]:
    """Sub-folders of the result (an empty name for the folder itself), the files to cut together, and bad ones."""
    for kinds, layout in zip(PAIRED, ("paired", "gopro"), strict=True):
        here = folder.is_dir() and any(
            (place / kind).is_dir()
            for kind in kinds
            for place in (folder, *(p for p in folder.iterdir() if p.is_dir()))
        )
        if here:
            found = survey(layout, folder, "train")
            pairs = [(pair.degraded, pair.clean) for pair in found.pairs if pair.degraded is not None]
            return kinds, list(pairs), [Failure(path, error) for path, error in found.unreadable]
    return ("",), [(path,) for path in list_pictures(folder)], []


def _flat(path: Path, kind: str) -> str:
    """GOPR0372_07_00/blur/000047.png -> GOPR0372_07_00-000047.png"""
    parts = list(path.parts)
    if kind:
        parts.remove(kind)
    return "-".join(parts)


def _tiles_of(stems: list[str], folders: list[Path]) -> dict[str, set[Path]]:
    """Tiles that are already there, by the stem of their picture."""
    known, tiles = set(stems), dict[str, set[Path]]()
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else []:
            named = re.fullmatch(r"(.+)_y\d{6,}_x\d{6,}\.png", path.name, re.DOTALL)
            if named and named[1] in known:
                tiles.setdefault(named[1], set()).add(path)
    return tiles


def _cut(pictures: list[Picture], targets: list[Path], stem: str, config: TileConfig) -> set[Path]:
    """Writes all tiles of the frames that belong together, or none."""
    height, width, _ = pictures[0].pixels.shape
    written = set()
    with together() as stage:
        for top in tile_starts(height, config):
            for left in tile_starts(width, config):
                for picture, target in zip(pictures, targets, strict=True):
                    path = target / f"{stem}_y{top:06}_x{left:06}.png"
                    write_picture(_crop(picture, top, left, config.size), stage(path))
                    written.add(path)
    return written


def _crop(picture: Picture, top: int, left: int, size: int) -> Picture:
    window = np.s_[top : top + size, left : left + size]
    alpha = None if picture.alpha is None else picture.alpha[window]
    return dataclasses.replace(picture, pixels=picture.pixels[window], alpha=alpha, exif=None)
