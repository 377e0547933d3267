"""Which files make a training example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from nafnet_deploy.config import nearest
from nafnet_deploy.data import layouts
from nafnet_deploy.data.matching import Misfits, first_names, match, readable
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Pair:
    """One example: a clean picture and, unless damage is to be made while training, its degraded version."""

    clean: Path
    """The picture to restore to."""
    degraded: Path | None = None
    """The picture to restore, of the same size; None to degrade the clean one on the fly."""
    task: str = ""
    """What was done to it, where the layout says so."""


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


LAYOUTS: dict[str, Callable[[Path, str, Sequence[str]], layouts.Found]] = {
    "clean": layouts.clean,
    "paired": layouts.paired,
    "gopro": layouts.gopro,
    "all-in-one": layouts.all_in_one,
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


def survey(layout: str, folder: Path, split: str, tasks: Sequence[str] = ()) -> Survey:
    """Looks through a data set; only names and headers are read. See `find_pairs` for arguments and errors."""
    if layout not in LAYOUTS:
        raise ConfigError(f"data.layout: there is no layout {layout!r}.", nearest(layout, LAYOUTS))
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}.", nearest(split, SPLITS))
    found = LAYOUTS[layout](folder, split, tasks)
    misfits = Misfits(folder)
    files: list[tuple[Path | None, Path]] = []
    task_of: dict[Path, str] = {}  # by clean file: no two tasks share a folder
    for source in found.sources:
        clean = _visible(source.clean)
        task_of.update(dict.fromkeys(clean, source.task))
        files += (
            [(None, path) for path in clean]
            if source.degraded is None
            else match(_visible(source.degraded), clean, misfits, source.partners)
        )
    if found.halved:  # before anything unreadable is dropped, so that the border stays where it is
        half = (len(files) + 1) // 2
        files = files[:half] if split == "val" else files[half:]
    good, unreadable = readable(files, misfits)
    misfits.check()
    if not good:
        reason = f": {unreadable[0][1].message}" if unreadable else f" for {split}."
        raise ConfigError(f"{folder} holds no usable picture{reason}", "Give a folder with whole pictures.")
    pairs = (Pair(clean, degraded, task_of[clean]) for degraded, clean in good)
    return Survey(tuple(pairs), tuple(unreadable), found.missing)


def find_pairs(
    layout: str,
    folder: Path,
    split: str,
    tasks: Sequence[str] = (),
    on_skip: Callable[[str], None] = lambda line: None,
) -> list[Pair]:
    """The examples of a data set, in name order within each of its folders.

    Args:
        layout: one of `LAYOUTS`; see `nafnet_deploy.data.layouts` for the folders of each.
        folder: where the data set, or the part of it for this split, lies.
        split: `train`, `val` or `test`; matters for `gopro`, whose test folder holds both of the latter, and for
            `all-in-one`, whose folder may hold one folder per split.
        tasks: all-in-one: the tasks to take, all of them when empty.
        on_skip: told in one line how many examples are left out because a file cannot be read, and which data
            sets of the layout are not there.

    Raises:
        ConfigError: an unknown layout, split or task, a folder that is missing or empty, no readable example, or
            files that do not pair, all of them counted in one message.
    """
    found = survey(layout, folder, split, tasks)
    if found.missing:
        on_skip(f"{folder} is used without {', '.join(found.missing)}, which it lacks")
    if found.unreadable:
        count = len(found.unreadable)
        on_skip(
            f"{folder}: {count} {'example is' if count == 1 else 'examples are'} left out: "
            + first_names(error.message.rstrip(".") for _, error in found.unreadable)
        )
    return list(found.pairs)


def _visible(folder: Path) -> list[Path]:
    """The picture files of a folder without the hidden ones, which file managers leave beside pictures."""
    files = [path for path in picture_files(folder) if not path.name.startswith(".") and path.is_file()]
    if not files:
        raise ConfigError(f"{folder} holds no pictures.", f"It needs files of {', '.join(sorted(PICTURE_SUFFIXES))}.")
    return files
