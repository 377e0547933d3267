"""The pictures of a folder, and a name of its own for every result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES
from nafnet_deploy.runtime.batch.journal import JOURNAL
from nafnet_deploy.runtime.files import target_suffix


def find_pictures(folder: Path, out: Path, recursive: bool = False, pattern: str | None = None) -> list[Path]:
    """The pictures of a folder by suffix, in name order; hidden files and folders are left out.

    Args:
        folder: where they are.
        out: where results go; it is never searched, and neither is another folder below that holds our results.
        recursive: also those of the folders below; links to folders are not followed.
        pattern: only those whose name, or path relative to `folder`, matches this glob pattern, e.g. `*_raw.png`.

    Raises:
        UsageError: the folder is missing, holds no picture, or none that matches.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Check the path.")
    found = sorted(_walk(folder, out.resolve()) if recursive else _pictures(folder.iterdir()))
    if not found:
        below = "" if recursive or not any(p.is_dir() for p in folder.iterdir()) else " It has folders: --recursive."
        raise UsageError(f"{folder} holds no pictures.{below}", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    if pattern is None:
        return found
    try:
        matching = [path for path in found if path.relative_to(folder).match(pattern)]
    except ValueError as error:
        raise ConfigError(f"the pattern {pattern!r} is impossible.", "Use one like '*.png'.") from error
    if not matching:
        raise UsageError(
            f"none of the {len(found)} pictures of {folder} matches {pattern!r}.", "Use a pattern like '*.png'."
        )
    return matching


def check_folders(folder: Path, out: Path) -> None:
    """Refuses to write results beside their sources, and makes the output folder.

    Raises:
        UsageError: `out` is the folder of the inputs.
        ImageError: it cannot be made or written to.
    """
    if out.exists() and folder.samefile(out):
        raise UsageError(f"{out} is the folder of the inputs.", "Give another folder with -o.")
    make_folder(out)


def make_folder(out: Path) -> None:
    """Makes a folder for results, with those above it.

    Raises:
        ImageError: it cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {out} cannot be made: {error.strerror}.", "Write elsewhere with -o.") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise ImageError(f"the folder {out} cannot be written to.", "Check its permissions, or use -o.")


def target_names(sources: list[Path], form: str | None = None) -> dict[Path, Path]:
    """A path of its own for every result, in the order of the relative sources.

    A picture keeps its name; one whose suffix changes into a name that belongs to another gets the new suffix appended.

    Raises:
        ConfigError: an unknown `form`.
    """
    kept = {source for source in sources if target_suffix(source, form) == source.suffix}
    names: dict[Path, Path] = {}
    taken = set(kept)
    for source in sources:
        name = source
        if source not in kept:
            suffix = target_suffix(source, form)
            name = source.with_name(source.stem + suffix)
            longer = source.with_name(source.name + suffix)
            while name in taken:
                name, longer = longer, longer.with_name(longer.name + suffix)
        taken.add(name)
        names[source] = name
    return names


def refuse_overwriting(folder: Path, out: Path, targets: list[Path]) -> None:
    """Refuses results that would lie among the inputs: `photos/photos/a.png` with `-o .` would replace `photos/a.png`.

    Raises:
        UsageError: one would.
    """
    inputs = folder.resolve()
    if out.resolve().is_relative_to(inputs):  # a folder of results inside the inputs is never searched
        return
    for target in targets:
        if target.resolve().is_relative_to(inputs):
            raise UsageError(f"{target} would lie among the inputs.", "Give another folder with -o.")


def _pictures(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and not path.is_dir():
            yield path


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    for root, below, names in os.walk(folder):
        place = Path(root)
        below[:] = [
            name
            for name in below
            if not name.startswith(".") and (place / name).resolve() != out and not (place / name / JOURNAL).exists()
        ]
        yield from _pictures(place / name for name in names)
