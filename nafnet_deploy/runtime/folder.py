"""Pictures on disk: one, or all of a folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nafnet_deploy.errors import EngineError, ImageError, MachineError, NafdeployError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.images.writing import WRITE_SUFFIXES, check_target, write_picture
from nafnet_deploy.runtime.huge import in_parts, restore_in_parts
from nafnet_deploy.runtime.progressive import Stage, progressive
from nafnet_deploy.runtime.restorer import OnTile, Restorer


@dataclasses.dataclass(frozen=True)
class Failure:
    """A picture that could not be restored."""

    source: Path
    """The file."""
    error: NafdeployError
    """What was wrong; has `message` and `mend`."""


@dataclasses.dataclass(frozen=True)
class FolderResult:
    """What became of a folder."""

    restored: tuple[tuple[Path, Path], ...]
    """(source, written file) of each success, in name order."""
    failed: tuple[Failure, ...]
    """Every failure, in name order."""


OnFile = Callable[[Path, int, int], None]
"""Told (source, its number from 1, pictures in all) before each picture."""


def default_target(source: Path) -> Path:
    """Where a result goes when nobody says: `photo.jpg` -> `photo_restored.jpg`, the folder `in` -> `in_restored`.

    The source's suffix stays where it can be written (JPEG, PNG, TIFF, WebP) and becomes `.png` otherwise.
    """
    if source.is_dir():
        folder = source.resolve()  # "." has no name of its own
        return folder.with_name(f"{folder.name}_restored")
    return source.with_name(f"{source.stem}_restored{_target_suffix(source)}")


def restore_file(restorer: Restorer, source: Path, target: Path, on_tile: OnTile | None = None) -> None:
    """Restores one picture into a file; see `write_picture` for what is kept and which formats there are.

    Raises:
        UsageError: the target is the source.
        ImageError: the source cannot be read or the target cannot be written.
        ConfigError, EngineError: see `Restorer`; also, after writing the picture of the iterations before, when the
            state of a split bundle stopped being finite.
        MachineError: memory ran out.
    """
    try:
        if in_parts(restorer, source):
            restore_in_parts(restorer, source, target, on_tile)
        else:
            picture = read_picture(source)
            check_target(picture, target)
            restored = restorer.in_unit_range(picture.pixels, on_tile)
            write_picture(picture.with_pixels(restored), target)
    except MemoryError as error:
        raise MachineError(
            f"the memory does not suffice for {source}.", "Use smaller tiles, e.g. --tile 256."
        ) from error
    for outcome in restorer.outcomes:
        if outcome.fault:
            raise EngineError(
                f"{outcome.fault}; {target.name} holds the result of the iterations before.",
                "Check the bundle with: nafdeploy parity",
            )


def restore_stages(restorer: Restorer, source: Path, target: Path) -> Iterator[tuple[Stage, Path]]:
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
        check_target(picture, written)
        write_picture(picture.with_pixels(stage.pixels), written)
        yield stage, written


def restore_pair(
    restorer: Restorer, sources: tuple[Path, Path], targets: tuple[Path, Path], on_tile: OnTile | None = None
) -> None:
    """Restores both views of a stereo pair, left and right, into two files; each keeps its own nature.

    Raises:
        UsageError: a target is its source, or both are the same file.
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
    for picture, target in zip(pictures, targets, strict=True):
        check_target(picture, target)
    both = np.concatenate([picture.pixels for picture in pictures], axis=2)
    try:
        restored = restorer.in_unit_range(both, on_tile)
    except MemoryError as error:
        raise MachineError(
            f"the memory does not suffice for {sources[0]}.", "Use fewer rows at a time, e.g. --tile 64."
        ) from error
    for picture, target, view in zip(pictures, targets, np.split(restored, len(pictures), axis=2), strict=True):
        write_picture(picture.with_pixels(np.ascontiguousarray(view)), target)


def restore_folder(
    restorer: Restorer,
    folder: Path,
    out: Path,
    on_file: OnFile | None = None,
    on_tile: OnTile | None = None,
) -> FolderResult:
    """Restores every picture directly inside a folder, in name order, and goes on after a bad one.

    Pictures are found by suffix (`PICTURE_SUFFIXES`); hidden files are left out. Results keep their names; a suffix
    that cannot be written becomes `.png`, and where that name belongs to another picture the full name gets
    `.png` appended. Ctrl-C passes through and leaves whole files only.

    Args:
        restorer: ready to run.
        folder: where the pictures are.
        out: where the results go; made when missing, and never the folder itself.
        on_file: told before each picture.
        on_tile: told about the tiles of the current picture.

    Raises:
        UsageError: the folder is missing or holds no picture, or `out` is the folder itself.
        ImageError: `out` cannot be made or written to.
    """
    sources = list_pictures(folder)
    if out.exists() and folder.samefile(out):
        raise UsageError(f"{out} is the folder of the inputs.", "Give another folder with -o.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {out} cannot be made: {error.strerror}.", "Write elsewhere with -o.") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise ImageError(f"the folder {out} cannot be written to.", "Check its permissions, or use -o.")

    restored, failed = [], []
    for number, (source, name) in enumerate(_target_names(sources).items(), 1):
        if on_file is not None:
            on_file(source, number, len(sources))
        try:
            restore_file(restorer, source, out / name, on_tile)
        except NafdeployError as error:
            failed.append(Failure(source, error))
        else:
            restored.append((source, out / name))
    return FolderResult(tuple(restored), tuple(failed))


def _target_suffix(source: Path) -> str:
    return source.suffix if source.suffix.lower() in WRITE_SUFFIXES else ".png"


def _target_names(sources: list[Path]) -> dict[Path, str]:
    """A name of its own for every result, in the order of the sources."""
    kept = {source.name for source in sources if _target_suffix(source) == source.suffix}
    names: dict[Path, str] = {}
    for source in sources:
        name = source.stem + _target_suffix(source)
        if name != source.name:
            while name in kept or name in names.values():
                name = (source.name if name == source.stem + ".png" else name) + ".png"
        names[source] = name
    return names
