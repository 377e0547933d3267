"""The pictures of a folder, and a name of its own for every result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES
from nafnet_deploy.runtime.batch.journal import JOURNAL
from nafnet_deploy.runtime.files import target_suffix


def find_pictures(folder: Path, out: Path, recursive: bool = False) -> list[Path]:
    """The pictures of a folder by suffix, in name order; hidden files and folders are left out.

    Args:
        folder: where they are.
        out: where results go; it is never searched, and neither is another folder below that holds our results.
        recursive: also those of the folders below; links to folders are not followed.

    Raises:
        UsageError: the folder is missing, or holds folders alone.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Check the path.")
    found = sorted(_walk(folder, out.resolve()) if recursive else _pictures(folder.iterdir()))
    if not found and not recursive and any(path.is_dir() for path in folder.iterdir()):
        raise UsageError(f"{folder} holds no pictures itself, but folders.", "Restore those too with --recursive.")
    return found


def matching(found: list[Path], folder: Path, pattern: str | None) -> list[Path]:
    """Those pictures of a folder whose name, or path relative to it, matches a glob pattern, e.g. `*_raw.png`.

    Raises:
        UsageError: there are none, or none that matches.
        ConfigError: an impossible pattern.
    """
    if not found:
        raise UsageError(f"{folder} holds no pictures.", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    if pattern is None:
        return found
    try:
        chosen = [path for path in found if path.relative_to(folder).match(pattern)]
    except ValueError as error:
        raise ConfigError(f"the pattern {pattern!r} is impossible.", "Use one like '*.png'.") from error
    if not chosen:
        raise UsageError(
            f"none of the {len(found)} pictures of {folder} matches {pattern!r}.", "Use a pattern like '*.png'."
        )
    return chosen


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
    taken = {_folded(source) for source in kept}
    for source in sources:
        name = source
        if source not in kept:
            suffix = target_suffix(source, form)
            name = source.with_name(source.stem + suffix)
            longer = source.with_name(source.name + suffix)
            while _folded(name) in taken:
                name, longer = longer, longer.with_name(longer.name + suffix)
        taken.add(_folded(name))
        names[source] = name
    return names


def refuse_overwriting(folder: Path, out: Path, targets: list[Path], skip_existing: bool = False) -> None:
    """Refuses results that would lie among the inputs: `photos/photos/a.png` with `-o .` would replace `photos/a.png`.

    A folder of results inside the inputs is never searched. One that is there and holds no journal of ours may be a
    folder of originals, so nothing in it is replaced.

    Raises:
        UsageError: one would lie among the inputs, or replace one.
    """
    inputs = folder.resolve()
    if out.resolve().is_relative_to(inputs):
        if not (out / JOURNAL).exists() and not skip_existing:
            refuse_replacing([target for target in targets if target.exists()])
        return
    for target in targets:
        if target.resolve().is_relative_to(inputs):
            raise UsageError(f"{target} would lie among the inputs.", "Give another folder with -o.")


def refuse_replacing(there: list[Path]) -> None:
    """Refuses results that would replace files of the inputs' own tree.

    Raises:
        UsageError: there are any.
    """
    if there:
        raise UsageError(
            f"{there[0]} lies in the folder of the inputs and would be replaced.", "Give another folder with -o."
        )


def _folded(path: Path) -> str:
    """A path as disks tell paths apart that do not tell A from a."""
    return path.as_posix().casefold()


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
