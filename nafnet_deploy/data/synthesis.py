"""Folders of clean pictures turned into folders of degraded ones, or into training and validation pairs."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np

from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.outputs import (
    Failure,
    OnFile,
    copy_file,
    distinct_stems,
    is_of_the_disk,
    list_pictures,
    make_folder,
    refuse_existing,
    refuse_input_folders,
    together,
)
from nafnet_deploy.errors import ConfigError, ImageError, NafdeployError, UsageError
from nafnet_deploy.images.files import read_picture, read_size
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import WRITE_SUFFIXES, check_target, write_picture

VAL_SHARE = 0.1
"""Share of the pictures that goes to validation when nobody asks."""


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """How a folder is degraded."""

    degradation: Degradation = dataclasses.field(default_factory=Degradation)
    """What is done to the pictures."""
    create_paired: bool = False
    """Write `train/{degraded,clean}` and `val/{degraded,clean}` in place of degraded pictures alone."""
    val_share: float = VAL_SHARE
    """Pairs: share of the pictures that goes to validation; 0 is none."""
    versions: int = 1
    """Degraded versions of each picture."""
    seed: int = 0
    """Seed of the degradations and of the split."""
    recursive: bool = False
    """Read the folders below too."""
    format: str = "png"
    """Suffix of the degraded pictures; clean ones of pairs are always PNG."""
    overwrite: bool = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_share < 1:
            raise ConfigError(f"--val-share {self.val_share} is impossible.", "Use 0 or more and less than 1.")
        if self.versions < 1:
            raise ConfigError(f"--versions {self.versions} is impossible.", "Use 1 or more.")
        if f".{self.format}" not in WRITE_SUFFIXES:
            known = ", ".join(suffix[1:] for suffix in WRITE_SUFFIXES)
            raise ConfigError(f"--format {self.format} cannot be written.", f"Use one of {known}.")


@dataclasses.dataclass(frozen=True)
class SynthesisResult:
    """What became of a folder."""

    written: dict[str, int]
    """Degraded pictures written, by `train` and `val`; by the empty name where no pairs were asked for."""
    failed: tuple[Failure, ...]
    """Pictures that were left out, in name order."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """One clean picture and the place of what is made of it."""

    source: Path
    name: str
    """The source relative to its folder: what its randomness depends on."""
    split: str
    stem: str
    """Target without version and suffix, relative to the folder of its kind."""

    def versions(self, config: SynthesisConfig, out: Path) -> list[tuple[Path, Path | None]]:
        """(degraded file, clean file or None) of each version."""
        stems = [self.stem + ending for ending in _endings(config.versions)]
        if not config.create_paired:
            return [(out / f"{stem}.{config.format}", None) for stem in stems]
        folder = out / self.split
        return [(folder / "degraded" / f"{stem}.{config.format}", folder / "clean" / f"{stem}.png") for stem in stems]


def degrade_folder(
    clean: Path, out: Path, config: SynthesisConfig, on_file: OnFile = lambda source, number, total: None
) -> SynthesisResult:
    """Degrades every picture of a folder and goes on after a bad one.

    What happens to a picture depends on the seed, its name relative to `clean` and the version alone, so a picture
    that is added later changes no other. So does its side of the split, except that the smallest or largest draw
    changes sides where one side would be empty. Depth, grey and transparency are kept; JPEG and scaling work with
    8 bits. Version 1 keeps the picture's name, version k adds `_v<k>`; pairs lie flat, `sub/a.jpg` becomes `sub_a`.

    Args:
        clean: folder of clean pictures.
        out: made when missing.
        config: what to do.
        on_file: told before each picture.

    Raises:
        UsageError: no pictures, an output among the inputs, or one that exists and may not be replaced.
        ImageError: the disk does not take a file. A pair is never half-written.
    """
    sources = list_pictures(clean, config.recursive)
    jobs = _plan(sources, clean, config)
    targets = [target for job in jobs for pair in job.versions(config, out) for target in pair if target is not None]
    folders = sorted({target.parent for target in targets})
    sides = [out / split / kind for split in ("train", "val") for kind in ("degraded", "clean")]
    refuse_input_folders([clean], sides if config.create_paired else [out, *folders], config.recursive)
    refuse_existing([target for target in targets if target.exists()], config.overwrite)
    if config.create_paired:
        _refuse_leaks(jobs, out)
        if config.overwrite:
            _refuse_further_versions(jobs, config, out, set(targets))
    for folder in folders:
        make_folder(folder)
    written, failed = dict.fromkeys([job.split for job in jobs], 0), []
    for number, job in enumerate(jobs, 1):
        on_file(job.source, number, len(jobs))
        try:
            picture = read_picture(job.source)
            for target, _ in job.versions(config, out):
                check_target(picture, target)
        except NafdeployError as error:
            failed.append(Failure(job.source, error))
            continue
        try:
            written[job.split] += _write(picture, job, config, out)
        except NafdeployError as error:
            if is_of_the_disk(error):
                raise
            failed.append(Failure(job.source, error))
    return SynthesisResult(dict(sorted(written.items())), tuple(failed))


RANGES = {
    "noise": ("sigma",),
    "blur": ("blur_sigma", "motion"),
    "motion": ("motion",),
    "jpeg": ("quality",),
    "scale": ("scale",),
    "combined": ("sigma", "blur_sigma", "motion", "quality", "scale"),
}
"""The ranges that each type of degradation reads."""


def read_degradation(type_: str, ranges: Mapping[str, tuple[float, float]]) -> Degradation:
    """A degradation from the options of a command.

    Raises:
        ConfigError: an unknown type, an impossible range, or one that the type would ignore.
    """
    degradation = Degradation(type_, **ranges)  # type: ignore[arg-type]
    for name in ranges:
        if name not in RANGES[type_]:
            option, known = name.replace("_", "-"), ", ".join(f"--{n.replace('_', '-')}" for n in RANGES[type_])
            raise ConfigError(f"--{option} does nothing for --type {type_}.", f"Leave it out; it reads {known}.")
    return degradation


def generator(seed: int, name: str, version: int) -> np.random.Generator:
    """The generator of one version of one picture, the same on every machine."""
    return np.random.default_rng(_digest(f"{seed}/{version}/{name}"))


def in_validation(names: list[str], share: float, seed: int) -> set[str]:
    """The names that go to validation: about `share` of them, each by a draw of its own.

    Training is never left empty, nor is validation with a share above 0 and two names or more.
    """
    draws = {name: _digest(f"{seed}/split/{name}") / 2**128 for name in names}
    chosen = {name for name, draw in draws.items() if draw < share}
    if not chosen and share > 0 and len(names) > 1:
        return {min(draws, key=draws.__getitem__)}
    if len(chosen) == len(names):
        return chosen - {max(draws, key=draws.__getitem__)}
    return chosen


def _digest(text: str) -> int:
    """128 bits that depend on the text alone; Python's own hash changes from process to process."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16], "big")


def _endings(versions: int) -> list[str]:
    return ["", *(f"_v{version}" for version in range(2, versions + 1))]


def _plan(sources: list[Path], clean: Path, config: SynthesisConfig) -> list[_Job]:
    relative = [source.relative_to(clean) for source in sources]
    names = [path.as_posix() for path in relative]
    places = [PurePath("_".join(path.parts)) if config.create_paired else path for path in relative]
    stems = distinct_stems(places, _endings(config.versions))
    validation = in_validation(names, config.val_share, config.seed) if config.create_paired else set()
    sides = ["" if not config.create_paired else "val" if name in validation else "train" for name in names]
    return [_Job(*fields) for fields in zip(sources, names, sides, stems, strict=True)]


def _refuse_leaks(jobs: list[_Job], out: Path) -> None:
    """Refuses when an earlier run put a version of a picture on the other side of the split."""
    for split, other in (("train", "val"), ("val", "train")):
        folder = out / other / "degraded"
        stems = {job.stem for job in jobs if job.split == split}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.stem in stems or re.sub(r"_v\d+$", "", path.stem) in stems:
                raise UsageError(
                    f"{path} is of a picture that now goes to {split}, and no picture may be on both sides.",
                    f"Empty {out} first, or give another folder with -o.",
                )


def _write(picture: Picture, job: _Job, config: SynthesisConfig, out: Path) -> int:
    """Writes all versions of a picture, or none; returns how many."""
    first: Path | None = None
    versions = job.versions(config, out)
    with together() as stage:
        for version, (degraded, clean) in enumerate(versions, 1):
            spoiled = _degraded(picture, config.degradation, generator(config.seed, job.name, version))
            write_picture(spoiled, stage(degraded))
            if clean is None:
                continue
            part = stage(clean)
            if first is not None:
                copy_file(first, part, link=True)
            elif job.source.suffix.lower() == ".png" and read_size(job.source) == picture.pixels.shape[:2]:
                copy_file(job.source, part)  # not where only a block behind the pixels asks to turn them
            else:
                write_picture(picture, part)
            first = first or part
    return len(versions)


def _refuse_further_versions(jobs: list[_Job], config: SynthesisConfig, out: Path, ours: set[Path]) -> None:
    """Refuses pairs of which an earlier run left more versions than this one replaces: they are of other settings."""
    wider = dataclasses.replace(config, versions=config.versions + 1)
    for job in jobs:
        for path in job.versions(wider, out)[-1]:
            if path is not None and path not in ours and path.exists():
                raise UsageError(
                    f"{path} looks like a version of {job.name} that this run would not replace.",
                    f"Remove it, ask for more --versions, or empty {out} first.",
                )


def _degraded(picture: Picture, degradation: Degradation, rng: np.random.Generator) -> Picture:
    if picture.bits > 8:  # its file holds more than the 8 bits that a degradation rounds to by itself
        degradation = dataclasses.replace(degradation, quantize=False)
    try:
        pixels = degradation(picture.pixels, rng)
    except (MemoryError, OSError, ValueError) as error:  # e.g. a side that JPEG cannot count
        reason = str(error) or type(error).__name__
        raise ImageError(f"{picture.source} cannot be degraded: {reason}.", "Cut it into parts first.") from None
    if picture.grey:  # one channel, not the mean of three: averaging would weaken noise that differs between them
        pixels = np.repeat(pixels[..., 1:2], 3, axis=2)
    return picture.with_pixels(pixels)
