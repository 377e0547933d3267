"""Degraded and clean files matched by name, and what does not match, told in one message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import read_size

NAMED = 3
"""How many misfits of a kind a message names."""

Partners = Callable[[str], tuple[str, ...]]
"""From the stem of a degraded file to the stems that its clean file may have, the likeliest first."""
FilePair = tuple[Path, Path]
"""(degraded, clean)."""


def same_stem(stem: str) -> tuple[str, ...]:
    """A degraded file and its clean one are called the same."""
    return (stem,)


def first_names(names: Iterable[str]) -> str:
    """`a, b, c and 4 more`."""
    listed = list(names)
    rest = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


@dataclasses.dataclass
class Misfits:
    """What stands in the way of using a data set, gathered so that the user mends it in one go."""

    root: Path
    """Folder that names are given relative to."""
    unmatched: list[Path] = dataclasses.field(default_factory=list)
    """Degraded files without a clean one."""
    unused: list[Path] = dataclasses.field(default_factory=list)
    """Clean files without a degraded one."""
    doubles: list[Path] = dataclasses.field(default_factory=list)
    """Files whose stem another file of the same folder has, so that their partner is ambiguous."""
    sizes: list[tuple[Path, tuple[int, int], tuple[int, int]]] = dataclasses.field(default_factory=list)
    """Degraded files of another size than their clean one (divided by the scale), with (height, width) of both."""
    scale: int = 1
    """Side of a clean picture over that of its degraded one."""
    alone: list[Path] = dataclasses.field(default_factory=list)
    """Views of a stereo pair without the other one."""
    uneven: list[tuple[Path, tuple[int, int], tuple[int, int]]] = dataclasses.field(default_factory=list)
    """Left views of another size than their right one, with (height, width) of both."""

    def check(self) -> None:
        """Does nothing when all is well.

        Raises:
            ConfigError: there are misfits; the message counts each kind and names the first few.
        """
        kinds = [
            (self.unmatched, "degraded without a clean one"),
            (self.unused, "clean without a degraded one"),
            (self.doubles, "with the name of another but for the suffix"),
            (self.alone, "without the other view, _L or _R"),
        ]
        parts = [f"{len(paths)} {kind} ({first_names(map(self._name, paths))})" for paths, kind in kinds if paths]
        smaller = "" if self.scale == 1 else f" {self.scale} times smaller than"
        uneven = [
            (self.sizes, f"of another size than{smaller} the clean one", "clean"),
            (self.uneven, "of another size than the right view", "right"),
        ]
        for found, kind, other in uneven:
            described = (f"{self._name(path)} {w}x{h} but {other} {ow}x{oh}" for path, (h, w), (oh, ow) in found)
            parts += [f"{len(found)} {kind} ({first_names(described)})"] * bool(found)
        if parts:
            count = sum(len(paths) for paths, _ in kinds) + sum(len(found) for found, *_ in uneven)
            plural = "file does" if count == 1 else "files do"
            raise ConfigError(
                f"{self.root}: {count} {plural} not pair: {'; '.join(parts)}.",
                "Give both files of a pair the same name (suffixes may differ) and size, or remove them.",
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def match(degraded: Sequence[Path], clean: Sequence[Path], misfits: Misfits, partners: Partners) -> list[FilePair]:
    """Pairs in the order of `degraded`; what finds no partner goes to `misfits`.

    A clean file may serve several degraded ones where `partners` says so.
    """
    by_stem = _by_stem(clean, misfits)
    pairs, used = [], set()
    for path in _by_stem(degraded, misfits).values():
        stem = next((s for s in partners(path.stem) if s in by_stem), None)
        if stem is None:
            misfits.unmatched.append(path)
            continue
        pairs.append((path, by_stem[stem]))
        used.add(stem)
    misfits.unused.extend(path for stem, path in by_stem.items() if stem not in used)
    return pairs


def readable(
    pairs: Sequence[tuple[Path | None, Path]], misfits: Misfits
) -> tuple[list[tuple[Path | None, Path]], list[tuple[Path, ImageError]]]:
    """The (degraded, clean) pairs whose headers can be read, and (file, error) for each of the others.

    Pairs whose clean picture does not have the size that belongs to the degraded one go to `misfits`.
    """
    good, errors = [], []
    sizes: dict[Path, tuple[int, int]] = {}  # a clean file may stand in many pairs
    for pair in pairs:
        degraded, clean = pair
        unread = [path for path in pair if path is not None and path not in sizes]
        try:
            for path in unread:
                sizes[path] = read_size(path)
        except ImageError as error:
            errors.append((path, error))
            continue
        if degraded is not None and tuple(misfits.scale * side for side in sizes[degraded]) != sizes[clean]:
            misfits.sizes.append((degraded, sizes[degraded], sizes[clean]))
        else:
            good.append(pair)
    return good, errors


def _by_stem(paths: Sequence[Path], misfits: Misfits) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if by_stem.setdefault(path.stem, path) != path:
            misfits.doubles.append(path)
    return by_stem
