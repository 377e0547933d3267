"""What every command that turns one folder of pictures into another shares: names, refusals, whole files."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from nafnet_deploy.errors import ImageError, NafdeployError, UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Failure:
    """A picture that was left out."""

    source: Path
    """The file."""
    error: NafdeployError
    """What was wrong; has `message` and `mend`."""


OnFile = Callable[[Path, int, int], None]
"""Told (source, its number from 1, pictures in all) before each picture."""


def list_pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """The pictures of a folder (with `recursive` also of those below), hidden ones left out, in name order.

    Raises:
        UsageError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Check the path.")
    found = sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    )
    if not found:
        mend = "" if recursive or not any(p.is_dir() for p in folder.iterdir()) else " It has sub-folders."
        raise UsageError(f"{folder} holds no pictures.{mend}", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    return found


def distinct_stems(paths: Sequence[PurePath], endings: Sequence[str] = ("",)) -> list[str]:
    """A name without suffix for each relative path, so that no two names share one with any of the endings.

    A path loses its suffix where that leaves it unique (a.jpg -> a) and keeps it otherwise (a.png -> a.png).
    Upper and lower case count as the same, as many file systems have it.
    """
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem = short = path.with_name(path.stem).as_posix()
        while not taken.isdisjoint(claimed := {(stem + ending).casefold() for ending in endings}):
            stem = path.as_posix() if stem == short else f"{stem}_"
        taken |= claimed
        stems.append(stem)
    return stems


def refuse_input_folders(inputs: Iterable[Path], targets: Iterable[Path], recursive: bool = False) -> None:
    """Refuses to write among the inputs.

    Raises:
        UsageError: a target is a folder of inputs or, with `recursive`, lies below one.
    """
    sources = {folder.resolve() for folder in inputs}
    for target in targets:
        place = target.resolve()
        if place in sources:
            raise UsageError(f"{target} is the folder of the inputs.", "Give another folder with -o.")
        if recursive and not sources.isdisjoint(place.parents):
            raise UsageError(f"{target} lies inside the folder of the inputs.", "Give another folder with -o.")


def refuse_existing(existing: Sequence[Path], overwrite: bool) -> None:
    """Refuses to replace files unless asked to.

    Raises:
        UsageError: there are some.
    """
    if existing and not overwrite:
        count = f"{existing[0]} exists" if len(existing) == 1 else f"{len(existing)} files exist, e.g. {existing[0]}"
        raise UsageError(f"{count}, and would be replaced.", "Give another folder with -o, or --overwrite.")


def make_folder(folder: Path) -> None:
    """Makes a folder for results, with those above it.

    Raises:
        ImageError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"the folder {folder} cannot be made: {error.strerror}.", "Write elsewhere with -o."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"the folder {folder} cannot be written to.", "Check its permissions, or use -o.")


def is_of_the_disk(error: NafdeployError) -> bool:
    """True for a failed write that the next picture would meet as well: a full disk, a lost folder."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno is not None


@contextmanager
def together() -> Iterator[Callable[[Path], Path]]:
    """Files that belong together: all of them appear when the block ends, or none when it fails, Ctrl-C included.

    Gives a function from the path that a file is to have to the one that it must be written to.
    """
    parts: dict[Path, Path] = {}

    def stage(target: Path) -> Path:
        part = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
        parts[part] = target
        return part

    try:
        yield stage
        for part, target in parts.items():
            try:
                part.replace(target)
            except OSError as error:
                raise ImageError(
                    f"{target} cannot be written: {error.strerror}.", "Write elsewhere with -o."
                ) from error
    except ImageError as error:
        for part, target in parts.items():  # the user knows the files by their own names
            error.message = error.message.replace(str(part), str(target))
        raise
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def copy_file(source: Path, target: Path, link: bool = False) -> None:
    """Copies a file byte for byte; with `link` both share the space where the disk can do that.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        if link:
            with suppress(OSError):  # a disk without links
                os.link(source, target)
                return
        shutil.copyfile(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(
            f"{target} cannot be written: {reason}.", "Check the folder's permissions and space."
        ) from error
