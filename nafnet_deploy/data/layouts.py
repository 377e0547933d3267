"""Where each layout of a data set keeps its degraded and clean pictures. Only folders are looked at here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nafnet_deploy.config import nearest
from nafnet_deploy.data.matching import Partners, same_stem
from nafnet_deploy.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Source:
    """One folder of clean pictures, with the folder of their degraded versions where there is one."""

    clean: Path
    """Folder of clean pictures."""
    degraded: Path | None = None
    """Folder of degraded pictures; None where they are degraded on the fly."""
    task: str = ""
    """What was done to the degraded ones, where the layout says so."""
    partners: Partners = same_stem
    """How a degraded file's name leads to its clean one's."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a layout found in a folder."""

    sources: tuple[Source, ...]
    """Folders to read, in order."""
    missing: tuple[str, ...] = ()
    """Folders that the layout knows and that are not there, relative to the data set."""
    halved: bool = False
    """The first half of the pairs is for validation, the second for testing."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One data set of the all-in-one layout."""

    task: str
    """Name by which `data.tasks` chooses it."""
    folder: str
    """Place below the training folder."""
    degraded: str = ""
    """Sub-folder of degraded pictures; empty where the folder holds clean pictures to be degraded on the fly."""
    clean: str = ""
    """Sub-folder of clean pictures."""
    partners: Partners = same_stem
    """How a degraded file's name leads to its clean one's."""


def _rain(stem: str) -> tuple[str, ...]:
    """Rain100L calls its clean files either like the rainy ones or norain-001 beside rain-001."""
    return stem, f"no{stem}"


def _haze(stem: str) -> tuple[str, ...]:
    """SOTS has several hazy versions of a clean 0001: 0001_1_0.2, with the strength of the haze behind the name."""
    return stem, stem.split("_")[0]


ALL_IN_ONE = (
    Part("denoising", "denoising/BSD400"),
    Part("denoising", "denoising/WED"),
    Part("deraining", "deraining/Rain100L", "rainy", "gt", _rain),
    Part("dehazing", "dehazing/SOTS", "hazy", "gt", _haze),
    Part("deblurring", "deblurring/GoPro", "blur", "sharp"),
    Part("low-light", "lol/LOL-v1", "low", "high"),
)
"""The data sets of the all-in-one layout."""
TASKS = tuple(dict.fromkeys(part.task for part in ALL_IN_ONE))
"""What `data.tasks` may name."""


def clean(folder: Path, split: str, tasks: Sequence[str]) -> Found:
    """`folder` holds clean pictures."""
    _no_tasks(tasks, "clean")
    return Found((Source(folder),))


def paired(folder: Path, split: str, tasks: Sequence[str]) -> Found:
    """`folder/degraded` and `folder/clean`."""
    _no_tasks(tasks, "paired")
    _need(folder, split, "paired", "degraded", "clean")
    return Found((Source(folder / "clean", folder / "degraded"),))


def gopro(folder: Path, split: str, tasks: Sequence[str]) -> Found:
    """`folder/blur` and `folder/sharp`, or the same below one folder per sequence.

    The data set has no validation part: of the folder that is given for `val` or `test`, the first half of the pairs
    in name order (rounded up) is for validation and the second for testing.
    """
    _no_tasks(tasks, "gopro")
    halved = split in ("val", "test")
    places = [folder]
    if not any((folder / name).is_dir() for name in ("blur", "sharp")) and folder.is_dir():
        sequences = sorted(p for p in folder.iterdir() if (p / "blur").is_dir() or (p / "sharp").is_dir())
        places = sequences or places
    for place in places:
        _need(place, split, "gopro", "blur", "sharp")
    return Found(tuple(Source(p / "sharp", p / "blur", "deblurring") for p in places), halved=halved)


def all_in_one(folder: Path, split: str, tasks: Sequence[str]) -> Found:
    """The data sets of `ALL_IN_ONE` below `folder/<split>`, or below `folder` itself where that is not there.

    A data set that is absent is left out unless `tasks` asks for its task by name.
    """
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"data.tasks: there is no task {task!r}.", nearest(task, TASKS))
    root = folder / split if (folder / split).is_dir() else folder
    wanted = [part for part in ALL_IN_ONE if not tasks or part.task in tasks]
    sources, missing = [], []
    for part in wanted:
        place = root / part.folder
        needed = [place / part.degraded, place / part.clean] if part.degraded else [place]
        absent = [path for path in needed if not path.is_dir()]
        if absent:
            lacking = absent if place.is_dir() else [place]
            missing += [(part.task, path.relative_to(root).as_posix()) for path in lacking]
        elif part.degraded:
            sources.append(Source(place / part.clean, place / part.degraded, part.task, part.partners))
        else:
            sources.append(Source(place, task=part.task))
    served = {source.task for source in sources}
    if not served or not set(tasks) <= served:
        raise ConfigError(
            f"{root} lacks {', '.join(place for task, place in missing if task not in served)}.",
            "Layout all-in-one reads them; put the data there, or choose other tasks with data.tasks.",
        )
    return Found(tuple(sources), tuple(place for _, place in missing))


def _no_tasks(tasks: Sequence[str], layout: str) -> None:
    if tasks:
        raise ConfigError(f"data.tasks does nothing for layout {layout}.", "Leave it out, or use layout all-in-one.")


def _need(folder: Path, split: str, layout: str, *names: str) -> None:
    """Both sub-folders must be there; a data set's root in place of one of its parts is recognised."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of pictures.", "Set data.train and data.val to folders.")
    absent = [name for name in names if not (folder / name).is_dir()]
    if not absent:
        return
    mend = f"Layout {layout} needs {' and '.join(names)} in it."
    if all((folder / split / name).is_dir() for name in names):
        mend = f"Did you mean {folder / split}?"
    raise ConfigError(f"{folder} lacks the folder{'s' * (len(absent) > 1)} {' and '.join(absent)}.", mend)
