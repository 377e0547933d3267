"""Pictures on disk, one at a time: a file, a stereo pair, or a file after every iteration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError, EngineError, ImageError, MachineError, UsageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import WRITE_SUFFIXES, check_target, write_picture
from nafnet_deploy.runtime.huge import in_parts, restore_in_parts
from nafnet_deploy.runtime.progressive import Stage, progressive
from nafnet_deploy.runtime.restorer import OnTile, Restorer

FORMATS = {"jpeg": ".jpg", "jpg": ".jpg", "png": ".png", "tif": ".tif", "tiff": ".tif", "webp": ".webp"}
"""Words of `--format`, and the suffix that each gives."""


def default_target(source: Path, form: str | None = None) -> Path:
    """Where a result goes when nobody says: `photo.jpg` -> `photo_restored.jpg`, the folder `in` -> `in_restored`.

    The source's suffix stays where it can be written (JPEG, PNG, TIFF, WebP) and becomes `.png` otherwise; `form` asks
    for another.

    Raises:
        ConfigError: an unknown `form`.
    """
    if source.is_dir():
        folder = source.resolve()  # "." has no name of its own
        return folder.with_name(f"{folder.name}_restored")
    return source.with_name(f"{source.stem}_restored{target_suffix(source, form)}")


def restore_file(
    restorer: Restorer, source: Path, target: Path, on_tile: OnTile | None = None, quality: int | None = None
) -> None:
    """Restores one picture into a file; see `write_picture` for what is kept and which formats there are.

    Raises:
        UsageError: the target is the source.
        ImageError: the source cannot be read or the target cannot be written.
        ConfigError, EngineError: see `Restorer`; also, after writing the picture of the iterations before, when the
            state of a split bundle stopped being finite.
        MachineError: memory ran out.
    """
    if in_parts(restorer, source):
        with _memory_for(source):
            restore_in_parts(restorer, source, target, on_tile)
    else:
        picture = read_picture(source)
        check_target(picture, target, restorer.manifest.scale)
        write_picture(picture.with_pixels(restored_pixels(restorer, picture, on_tile)), target, quality)
    if fault := fault_of(restorer):
        raise EngineError(
            f"{fault}; {target.name} holds the result of the iterations before.",
            "Check the bundle with: nafdeploy parity",
        )


def restored_pixels(restorer: Restorer, picture: Picture, on_tile: OnTile | None = None) -> NDArray[np.float32]:
    """The restored pixels of a picture, [h, w, 3] in [0, 1].

    Raises:
        ConfigError, EngineError: see `Restorer`.
        MachineError: memory ran out.
    """
    with _memory_for(picture.source):
        return restorer.in_unit_range(picture.pixels, on_tile)


@contextmanager
def _memory_for(source: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise MachineError(
            f"the memory does not suffice for {source}.", "Use smaller tiles, e.g. --tile 256."
        ) from error


def fault_of(restorer: Restorer) -> str:
    """Why the last picture of a split bundle got fewer iterations than it should have; empty when all is well."""
    return next((outcome.fault for outcome in restorer.outcomes if outcome.fault), "")


def restore_stages(
    restorer: Restorer, source: Path, target: Path, quality: int | None = None
) -> Iterator[tuple[Stage, Path]]:
    """Restores one picture and writes it after every iteration: `NAME_n1.png`, `NAME_n2.png`, ...

    Args:
        restorer: around a split bundle.
        source: the picture.
        target: the name to which `_n1` and so on is added.

    Raises:
        UsageError: a target is the source.
        ImageError: the source cannot be read or a target cannot be written.
        ConfigError, EngineError: see `progressive`.
    """
    picture = read_picture(source)
    for stage in progressive(restorer, picture.pixels):
        written = target.with_stem(f"{target.stem}_n{stage.iteration}")
        check_target(picture, written, restorer.manifest.scale)
        write_picture(picture.with_pixels(stage.pixels), written, quality)
        yield stage, written


def restore_pair(
    restorer: Restorer,
    sources: tuple[Path, Path],
    targets: tuple[Path, Path],
    on_tile: OnTile | None = None,
    quality: int | None = None,
) -> None:
    """Restores both views of a stereo pair, left and right, into two files; each keeps its own nature.

    Raises:
        UsageError: a target is one of the sources, or both are the same file.
        ImageError: the views differ in size, a source cannot be read or a target cannot be written.
        ConfigError, EngineError: see `Restorer`.
        MachineError: memory ran out.
    """
    pictures = [read_picture(source) for source in sources]
    (height, width, _), other = (picture.pixels.shape for picture in pictures)
    if (height, width) != other[:2]:
        raise ImageError(
            f"{sources[0].name} has {width}x{height} pixels and {sources[1].name} {other[1]}x{other[0]}: "
            "the views of a stereo pair must have the same size.",
            "Give the two views of one camera, rectified.",
        )
    if targets[0] == targets[1]:
        raise UsageError(f"both views would be written to {targets[0]}.", "Give a folder with -o.")
    for picture, target in itertools.product(pictures, targets):  # neither result may replace either view
        check_target(picture, target, restorer.manifest.scale)
    both = np.concatenate([picture.pixels for picture in pictures], axis=2)
    try:
        restored = restorer.in_unit_range(both, on_tile)
    except MemoryError as error:
        raise MachineError(
            f"the memory does not suffice for {sources[0]}.", "Use fewer rows at a time, e.g. --tile 64."
        ) from error
    for picture, target, view in zip(pictures, targets, np.split(restored, len(pictures), axis=2), strict=True):
        write_picture(picture.with_pixels(np.ascontiguousarray(view)), target, quality)


def target_suffix(source: Path, form: str | None = None) -> str:
    """The suffix of a result: that of `form`, else the source's own where it can be written, else `.png`.

    Raises:
        ConfigError: an unknown `form`.
    """
    if form is not None:
        if form.lower() not in FORMATS:
            raise ConfigError(f"the format {form!r} is unknown.", f"Use one of {', '.join(FORMATS)}.")
        suffix = FORMATS[form.lower()]
        return source.suffix if FORMATS.get(source.suffix.lower().removeprefix(".")) == suffix else suffix
    return source.suffix if source.suffix.lower() in WRITE_SUFFIXES else ".png"
