"""Degraded and clean pictures of two folders, matched by file stem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture

NAMED = 3
"""Offenders that a message names before it only counts."""


def match_pairs(degraded: Path, clean: Path) -> list[tuple[Path, Path]]:
    """(degraded, clean) pictures that share a stem, in the order of the stems; suffixes may differ.

    Raises:
        UsageError: a folder is missing or empty, a stem is there twice in one folder, or is missing in the other.
    """
    left, right = (_by_stem(folder) for folder in (degraded, clean))
    alone = [(stem, clean) for stem in sorted(left.keys() - right.keys())]
    alone += [(stem, degraded) for stem in sorted(right.keys() - left.keys())]
    if alone:
        raise UsageError(
            f"{len(alone)} pictures have no partner: {_first(f'{stem} (not in {where})' for stem, where in alone)}.",
            "Give both pictures of a pair the same name.",
        )
    return [(left[stem], right[stem]) for stem in sorted(left)]


def check_sizes(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Compares the sizes of all pairs before time is spent on the first; a picture that cannot be read is passed over.

    Raises:
        UsageError: the pictures of a pair differ in height or width.
    """
    wrong = []
    for degraded, clean in pairs:
        try:
            (h, w), (clean_h, clean_w) = (read_picture(path).pixels.shape[:2] for path in (degraded, clean))
        except ImageError:  # the evaluation meets it again and reports it
            continue
        if (h, w) != (clean_h, clean_w):
            wrong.append(f"{degraded.name} ({w}x{h} and {clean_w}x{clean_h})")
    if wrong:
        raise UsageError(
            f"{len(wrong)} of {len(pairs)} pairs differ in size: {_first(wrong)}.", "Give pictures of the same size."
        )


def _by_stem(folder: Path) -> dict[str, Path]:
    paths = list_pictures(folder)
    found = {path.stem: path for path in paths}
    twice = [path.name for path in paths if found[path.stem] != path]
    if twice:
        raise UsageError(
            f"{len(twice)} pictures of {folder} share their stem with another: {_first(twice)}.",
            "Keep one file for each stem.",
        )
    return found


def _first(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:NAMED]) + (f" and {len(every) - NAMED} more" if len(every) > NAMED else "")
