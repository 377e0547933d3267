"""Degraded and clean pictures of two folders, matched by file stem, and the views of stereo pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture

NAMED = 3
"""Offenders that a message names before it only counts."""


def match_pairs(degraded: Path, clean: Path, scale: int = 1) -> list[tuple[Path, Path]]:
    """(degraded, clean) pictures that share a stem, in the order of the stems; suffixes may differ.

    What is enlarged `scale` times may have that behind its stem: 0001x2 for 0001.

    Raises:
        UsageError: a folder is missing or empty, a stem is there twice in one folder, or is missing in the other.
    """
    right = _by_stem(clean, lambda stem: stem)
    left = _by_stem(degraded, lambda stem: stem if scale == 1 or stem in right else stem.removesuffix(f"x{scale}"))
    alone = [(stem, clean) for stem in sorted(left.keys() - right.keys())]
    alone += [(stem, degraded) for stem in sorted(right.keys() - left.keys())]
    if alone:
        raise UsageError(
            f"{len(alone)} pictures have no partner: {_first(f'{stem} (not in {where})' for stem, where in alone)}.",
            "Give both pictures of a pair the same name.",
        )
    return [(left[stem], right[stem]) for stem in sorted(left)]


def check_sizes(pairs: Sequence[tuple[Path, Path]], scale: int = 1) -> None:
    """Compares the sizes of all pairs before time is spent on the first; a picture that cannot be read is passed over.

    Raises:
        UsageError: the clean picture of a pair is not `scale` times as high and wide as the degraded one.
    """
    wrong = []
    for degraded, clean in pairs:
        try:
            (h, w), (clean_h, clean_w) = (read_picture(path).pixels.shape[:2] for path in (degraded, clean))
        except ImageError:  # the evaluation meets it again and reports it
            continue
        if (scale * h, scale * w) != (clean_h, clean_w):
            wrong.append(f"{degraded.name} ({w}x{h} and {clean_w}x{clean_h})")
    if wrong:
        mend = (
            "Give pictures of the same size." if scale == 1 else f"Clean ones must be {scale} times as high and wide."
        )
        raise UsageError(f"{len(wrong)} of {len(pairs)} pairs differ in size: {_first(wrong)}.", mend)


def join_views(pairs: Sequence[tuple[Path, Path]]) -> list[list[tuple[Path, Path]]]:
    """The (degraded, clean) pictures of both views of every stereo pair, the left one first.

    Raises:
        UsageError: a picture whose stem does not end with _L or _R, or whose other view is not there.
    """
    by_stem = {clean.stem: (degraded, clean) for degraded, clean in pairs}
    partner = {stem: f"{stem[:-1]}{'R' if stem.endswith('_L') else 'L'}" for stem in by_stem}
    alone = [stem for stem in by_stem if not stem.endswith(("_L", "_R")) or partner[stem] not in by_stem]
    if alone:
        raise UsageError(
            f"{len(alone)} pictures are no view of a stereo pair: {_first(alone)}.",
            "Call the views of a pair a_L and a_R.",
        )
    return [[pair, by_stem[partner[stem]]] for stem, pair in by_stem.items() if stem.endswith("_L")]


def _by_stem(folder: Path, name: Callable[[str], str]) -> dict[str, Path]:
    """The pictures of a folder by what `name` makes of their stems."""
    paths = list_pictures(folder)
    found = {name(path.stem): path for path in paths}
    twice = [path.name for path in paths if found[name(path.stem)] != path]
    if twice:
        raise UsageError(
            f"{len(twice)} pictures of {folder} share their stem with another: {_first(twice)}.",
            "Keep one file for each stem.",
        )
    return found


def _first(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:NAMED]) + (f" and {len(every) - NAMED} more" if len(every) > NAMED else "")
