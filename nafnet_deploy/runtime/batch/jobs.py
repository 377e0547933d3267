"""What passes between the parts of a run over many pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from nafnet_deploy.errors import NafdeployError


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to restore."""

    number: int
    """Its place in the run, from 0."""
    source: Path
    """The picture."""
    target: Path
    """The name of the result."""
    part: Path
    """Where the result is written; whoever keeps the journal gives it its name afterwards."""
    size: int
    """Bytes of the source when it was found."""
    mtime_ns: int
    """Time of its last change then (nanoseconds)."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a job."""

    job: Job
    """Whose."""
    written: int | None
    """Bytes of the whole result at `job.part`, safe on the disk; None where there is none."""
    error: NafdeployError | None = None
    """What was wrong. A result may be there all the same: that of the iterations before a state was not finite."""
    iterations: tuple[int, ...] = ()
    """Iterations that each tile got from an engine that decides for itself."""


OnEngine = Callable[[str, Sequence[str]], None]
"""Told (the engine's name, what `auto` passed over) of each engine that was opened."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How results are written."""

    format: str | None = None
    """Suffix without its dot: `jpg`, `png`, `tif` or `webp`; None keeps that of the source where it can be written."""
    quality: int | None = None
    """Of JPEG and WebP, 1 to 100; None for 95."""
