"""Where each layout of a data set keeps its degraded and clean pictures. Only folders are looked at here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nafnet_deploy.config import TASKS
from nafnet_deploy.data.matching import Partners, same_stem
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest


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
    views: int = 1
    """Pictures that belong together: 2 where a_L and a_R are the views of a stereo pair."""


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
ALL_IN_ONE_TEST = (
    Part("denoising", "BSD68"),
    Part("deraining", "Rain100L", "rainy", "gt", _rain),
    Part("dehazing", "SOTS", "hazy", "gt", _haze),
    Part("deblurring", "GoPro", "blur", "sharp"),
    Part("low-light", "LOL-v1", "low", "high"),
)
"""Those of its test folder."""
CDD_11 = (
    *("low", "haze", "rain", "snow"),
    *("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
    *("low_haze_rain", "low_haze_snow"),
)
"""The degradations of CDD-11, each a folder beside `clear`."""


def clean(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """`folder` holds clean pictures. For a network that enlarges they are shrunk while training."""
    _no_tasks(tasks, "clean")
    return Found((Source(folder),))


def paired(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """`folder/degraded` and `folder/clean`."""
    _no_tasks(tasks, "paired")
    _same_size(scale, "paired")
    _need(folder, split, "paired", "degraded", "clean")
    return Found((Source(folder / "clean", folder / "degraded"),))


def gopro(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """`folder/blur` and `folder/sharp`, or the same below one folder per sequence.

    The data set has no validation part: of the folder that is given for `val` or `test`, the first half of the pairs
    in name order (rounded up) is for validation and the second for testing.
    """
    _no_tasks(tasks, "gopro")
    _same_size(scale, "gopro")
    halved = split in ("val", "test")
    places = [folder]
    if not any((folder / name).is_dir() for name in ("blur", "sharp")) and folder.is_dir():
        sequences = sorted(p for p in folder.iterdir() if (p / "blur").is_dir() or (p / "sharp").is_dir())
        places = sequences or places
    for place in places:
        _need(place, split, "gopro", "blur", "sharp")
    return Found(tuple(Source(p / "sharp", p / "blur", "deblurring") for p in places), halved=halved)


def all_in_one(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """The data sets of `ALL_IN_ONE` below `folder/<split>`, or below `folder` itself where that is not there.

    For `val` and `test` those of `ALL_IN_ONE_TEST` below `folder/test`, unless a folder of that split holds the former.
    A data set that is absent is left out unless `tasks` asks for its task by name.
    """
    _same_size(scale, "all-in-one")
    _known(tasks, TASKS)
    places = [p for p in (folder / split, folder / "test" if split == "val" else folder / split) if p.is_dir()]
    root = places[0] if places else folder
    parts: Sequence[Part] = ALL_IN_ONE
    if split != "train" and not any((root / part.folder).is_dir() for part in ALL_IN_ONE):
        parts = ALL_IN_ONE_TEST
    sources, missing = [], []
    for part in parts:
        if tasks and part.task not in tasks:
            continue
        place = root / part.folder
        needed = [place / part.degraded, place / part.clean] if part.degraded else [place]
        absent = [path for path in needed if not path.is_dir()]
        if absent:
            holds = f"{part.degraded} and {part.clean}" if part.degraded else "clean pictures"
            lacking = absent if place.is_dir() else [place]
            missing += [
                (part.task, path.relative_to(root).as_posix(), holds if path == place else "pictures")
                for path in lacking
            ]
        elif part.degraded:
            sources.append(Source(place / part.clean, place / part.degraded, part.task, part.partners))
        else:
            sources.append(Source(place, task=part.task))
    served = {source.task for source in sources}
    if not served or not set(tasks) <= served:
        lacks = ", ".join(f"{place} ({holds})" for task, place, holds in missing if task not in served)
        raise ConfigError(
            f"{root} lacks {lacks}.",
            "Layout all-in-one reads them; put the data there, or choose other tasks with data.tasks.",
        )
    if tasks:  # they are learned in the order in which they were named
        sources.sort(key=lambda source: tasks.index(source.task))
    return Found(tuple(sources), tuple(place for _, place, _ in missing))


def cdd_11(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """`clear` and one folder for each of `CDD_11`, below `folder/<split>` or `folder`; test is for validation too."""
    _same_size(scale, "cdd-11")
    _known(tasks, CDD_11)
    part = folder / ("train" if split == "train" else "test")
    root = part if part.is_dir() else folder
    wanted = list(dict.fromkeys(tasks)) or list(CDD_11)
    absent = [name for name in ("clear", *wanted) if not (root / name).is_dir()]
    if absent:
        raise ConfigError(
            f"{root} lacks {', '.join(f'{name} (pictures)' for name in absent)}.",
            "Layout cdd-11 reads them, the names alike in all; put the data there, or choose others with data.tasks.",
        )
    return Found(tuple(Source(root / "clear", root / name, name) for name in wanted))


def super_resolution(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """`folder/hr` and, 1 / scale as high and wide, `folder/lr/x<scale>`: names alike, or with x2 behind the latter."""
    _no_tasks(tasks, "super-resolution")
    return Found((_enlarged(folder, "super-resolution", scale),))


def stereo(folder: Path, split: str, tasks: Sequence[str], scale: int) -> Found:
    """Both views of each pair, a_L and a_R, directly in `folder` (Flickr1024), or below `hr` and `lr/x<scale>`.

    In the first case they are shrunk while training.
    """
    _no_tasks(tasks, "stereo")
    flat = folder.is_dir() and not any((folder / name).is_dir() for name in ("hr", "lr"))
    source = Source(folder) if flat else _enlarged(folder, "stereo", scale)
    return Found((source,), views=2)


def _enlarged(folder: Path, layout: str, scale: int) -> Source:
    if scale == 1:
        raise ConfigError(f"layout {layout} is for networks that enlarge.", "Choose another preset, or layout paired.")
    small = f"lr/x{scale}"
    absent = [name for name in ("hr", small) if not (folder / name).is_dir()]
    if absent:
        raise ConfigError(
            f"{folder} lacks {', '.join(absent)}.",
            f"Layout {layout} reads large pictures from hr and those shrunk {scale} times from {small}.",
        )
    return Source(folder / "hr", folder / small, partners=lambda stem: (stem, stem.removesuffix(f"x{scale}")))


def _same_size(scale: int, layout: str) -> None:
    if scale != 1:
        raise ConfigError(
            f"layout {layout} has no small pictures, which a network that enlarges needs.",
            "Use layout super-resolution, or clean to have them made.",
        )


def _known(tasks: Sequence[str], choices: Sequence[str]) -> None:
    for task in tasks:
        if task not in choices:
            raise ConfigError(f"data.tasks: there is no task {task!r}.", nearest(task, choices))


def _no_tasks(tasks: Sequence[str], layout: str) -> None:
    if tasks:
        raise ConfigError(
            f"data.tasks does nothing for layout {layout}.", "Leave it out, or use layout all-in-one or cdd-11."
        )


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
