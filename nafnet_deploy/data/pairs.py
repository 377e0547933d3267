"""Which files make a training example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from nafnet_deploy.data import layouts
from nafnet_deploy.data.matching import Misfits, first_names, match, readable
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES, read_size
from nafnet_deploy.tables import nearest


@dataclasses.dataclass(frozen=True)
class Pair:
    """One example: a clean picture and, unless damage is to be made while training, its degraded version."""

    clean: Path
    """The picture to restore to."""
    degraded: Path | None = None
    """The picture to restore, of the same size; None to degrade the clean one on the fly."""
    task: str = ""
    """What was done to it, where the layout says so."""
    right: Pair | None = None
    """The right view of a stereo pair, whose left view this is."""


def picture_files(folder: Path) -> list[Path]:
    """The picture files directly in a folder, in name order.

    Raises:
        ConfigError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of pictures.", "Set data.train and data.val to folders.")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise ConfigError(f"{folder} holds no pictures.", f"It needs files of {', '.join(sorted(PICTURE_SUFFIXES))}.")
    return files


LAYOUTS: dict[str, Callable[[Path, str, Sequence[str], int], layouts.Found]] = {
    "clean": layouts.clean,
    "paired": layouts.paired,
    "gopro": layouts.gopro,
    "all-in-one": layouts.all_in_one,
    "cdd-11": layouts.cdd_11,
    "super-resolution": layouts.super_resolution,
    "stereo": layouts.stereo,
}
"""How a data set lies on disk, by the name that `data.layout` gives it."""
SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Survey:
    """A data set, looked through by its headers."""

    pairs: tuple[Pair, ...]
    """Examples, in name order within each folder."""
    unreadable: tuple[tuple[Path, ImageError], ...]
    """For each example that is left out, the file of it that cannot be read, and why."""
    missing: tuple[str, ...]
    """Folders that the layout knows and that are not there."""


def survey(layout: str, folder: Path, split: str, tasks: Sequence[str] = (), scale: int = 1, views: int = 1) -> Survey:
    """Looks through a data set; only names and headers are read. See `find_pairs` for arguments and errors."""
    if layout not in LAYOUTS:
        raise ConfigError(f"data.layout: there is no layout {layout!r}.", nearest(layout, LAYOUTS))
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}.", nearest(split, SPLITS))
    found = LAYOUTS[layout](folder, split, tasks, scale)
    if found.views != views:
        kind = "single pictures" if found.views == 1 else "stereo pairs"
        raise ConfigError(f"layout {layout} holds {kind}, which this network does not take.", "Choose another layout.")
    misfits = Misfits(folder, scale=scale)
    files: list[tuple[Path | None, Path]] = []
    task_of: dict[tuple[Path | None, Path], str] = {}
    for source in found.sources:
        clean = _visible(source.clean)
        matched: list[tuple[Path | None, Path]] = (
            [(None, path) for path in clean]
            if source.degraded is None
            else [*match(_visible(source.degraded), clean, misfits, source.partners)]
        )
        task_of.update(dict.fromkeys(matched, source.task))
        files += matched
    if found.halved:  # before anything unreadable is dropped, so that the border stays where it is
        half = (len(files) + 1) // 2
        files = files[:half] if split == "val" else files[half:]
    good, unreadable = readable(files, misfits)
    pairs = [Pair(clean, degraded, task_of[degraded, clean]) for degraded, clean in good]
    if views == 2:
        pairs = join_views(pairs, {path for path, _ in unreadable}, misfits)
    misfits.check()
    if not pairs:
        reason = f": {unreadable[0][1].message}" if unreadable else f" for {split}."
        raise ConfigError(f"{folder} holds no usable picture{reason}", "Give a folder with whole pictures.")
    return Survey(tuple(pairs), tuple(unreadable), found.missing)


def find_pairs(
    layout: str,
    folder: Path,
    split: str,
    tasks: Sequence[str] = (),
    on_skip: Callable[[str], None] = lambda line: None,
    scale: int = 1,
    views: int = 1,
) -> list[Pair]:
    """The examples of a data set, in name order within each of its folders.

    Args:
        layout: one of `LAYOUTS`; see `nafnet_deploy.data.layouts` for the folders of each.
        folder: where the data set, or the part of it for this split, lies.
        split: `train`, `val` or `test`; matters for `gopro`, whose test folder holds both of the latter, and for
            `all-in-one`, whose folder may hold one folder per split.
        tasks: all-in-one and cdd-11: the tasks to take, all of them when empty.
        on_skip: told in one line how many examples are left out because a file cannot be read, and which data
            sets of the layout are not there.
        scale: side of a clean picture over that of its degraded one, as the network enlarges.
        views: pictures that the network restores together, 2 for a stereo pair.

    Raises:
        ConfigError: an unknown layout, split or task, a layout that does not fit the network, a folder that is missing
            or empty, no readable example, or files that do not pair, all of them counted in one message.
    """
    found = survey(layout, folder, split, tasks, scale, views)
    if found.missing:
        on_skip(f"{folder} is used without {', '.join(found.missing)}, which it lacks")
    if found.unreadable:
        count = len(found.unreadable)
        on_skip(
            f"{folder}: {count} {'example is' if count == 1 else 'examples are'} left out: "
            + first_names(error.message.rstrip(".") for _, error in found.unreadable)
        )
    return list(found.pairs)


def join_views(pairs: Sequence[Pair], unreadable: set[Path], misfits: Misfits) -> list[Pair]:
    """Left views with their right ones; a view whose partner is not there or of another size goes to `misfits`.

    Args:
        pairs: single views, the stems of their clean pictures ending with _L or _R.
        unreadable: files that are there and cannot be read: who lacks one of them is left out, and is no misfit.
        misfits: takes the others.
    """
    by_stem = {pair.clean.stem: pair for pair in pairs}
    broken = {path.stem for path in unreadable}
    joined = []
    for stem, pair in by_stem.items():
        other = f"{stem[:-1]}{'R' if stem.endswith('_L') else 'L'}"
        if not stem.endswith(("_L", "_R")) or (other not in by_stem and other not in broken):
            misfits.alone.append(pair.clean)
        elif stem.endswith("_L") and other in by_stem:
            right = by_stem[other]
            sizes = read_size(pair.clean), read_size(right.clean)
            if sizes[0] == sizes[1]:
                joined.append(dataclasses.replace(pair, right=right))
            else:
                misfits.uneven.append((pair.clean, *sizes))
    return joined


def _visible(folder: Path) -> list[Path]:
    """The picture files of a folder without the hidden ones, which file managers leave beside pictures."""
    files = [path for path in picture_files(folder) if not path.name.startswith(".") and path.is_file()]
    if not files:
        raise ConfigError(f"{folder} holds no pictures.", f"It needs files of {', '.join(sorted(PICTURE_SUFFIXES))}.")
    return files
