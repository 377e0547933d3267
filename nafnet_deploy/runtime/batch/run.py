"""A folder of pictures in, a folder of restored pictures out, each exactly once however often the run is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from nafnet_deploy.errors import ImageError, NafdeployError
from nafnet_deploy.runtime.batch.jobs import Done, Encoding, Job
from nafnet_deploy.runtime.batch.journal import Journal
from nafnet_deploy.runtime.batch.pipeline import restore_jobs
from nafnet_deploy.runtime.batch.sources import check_folders, find_pictures, refuse_overwriting, target_names
from nafnet_deploy.runtime.batch.workers import restore_in_processes
from nafnet_deploy.runtime.opening import Opening


@dataclasses.dataclass(frozen=True)
class Failure:
    """A picture that could not be restored."""

    source: Path
    """The file."""
    error: NafdeployError
    """What was wrong; has `message` and `mend`."""


@dataclasses.dataclass(frozen=True)
class FolderPlan:
    """Which pictures of a folder are restored, and how."""

    folder: Path
    """Where they are."""
    out: Path
    """Where the results go, in the same folders below; made when missing, and never `folder` itself."""
    recursive: bool = False
    """Also the pictures of the folders below."""
    pattern: str | None = None
    """Only those whose name or relative path matches, e.g. `*_raw.png`."""
    skip_existing: bool = False
    """Leave out pictures whose result is there, whoever made it."""
    encoding: Encoding = dataclasses.field(default_factory=Encoding)
    """How results are written."""
    workers: int = 1
    """Processes with one engine each; 1 works in this process."""


@dataclasses.dataclass(frozen=True)
class FolderResult:
    """What became of a folder."""

    restored: tuple[tuple[Path, Path], ...]
    """(source, written file) of each success of this run, in name order."""
    failed: tuple[Failure, ...]
    """Every failure, in name order."""
    before: int
    """Pictures that an earlier run had restored with the same options."""
    skipped: int
    """Pictures that `skip_existing` left out."""
    seconds: float
    """Time of this run, opening the engines included."""
    engine: str
    """What ran; empty when nothing had to."""
    iterations: Counter[int]
    """How often each number of iterations ran, of an engine that decides for itself."""

    def to_json(self) -> dict[str, Any]:
        """The summary for machines."""
        return {
            "restored": [[str(source), str(target)] for source, target in self.restored],
            "failed": [
                {"source": str(f.source), "error": f.error.message, "mend": f.error.mend, "code": f.error.exit_code}
                for f in self.failed
            ],
            "done_before": self.before,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "pictures_per_second": round(len(self.restored) / self.seconds, 3) if self.seconds else 0.0,
            "engine": self.engine,
            "iterations": {str(n): times for n, times in sorted(self.iterations.items())},
        }


OnDone = Callable[[Path, int, int], None]
"""Told (source, pictures done or failed, pictures to do in this run) after each picture, and once before the first."""


def restore_folder(plan: FolderPlan, opening: Opening, on_done: OnDone | None = None) -> FolderResult:
    """Restores every picture of a folder, in name order, and goes on after a bad one.

    Pictures are found by suffix (`PICTURE_SUFFIXES`); hidden files are left out. Results keep their names; a suffix
    that cannot be written becomes `.png`, and where that name belongs to another picture the full name gets
    `.png` appended. The journal in `plan.out` remembers what is done: a run that was interrupted or killed goes on
    where it was, and pictures or options that changed are done anew.

    Args:
        plan: which pictures.
        opening: how the engine is opened; not before there is something to do.
        on_done: told about progress.

    Raises:
        UsageError: the folder is missing or holds no matching picture, `out` is the folder itself, a result would
            overwrite an input, or another run is writing into `out`.
        ImageError: `out` cannot be made or written to.
        ConfigError, EngineError, MachineError: the engine cannot be opened.
    """
    began = time.perf_counter()
    sources = find_pictures(plan.folder, plan.out, plan.recursive, plan.pattern)
    names = target_names([source.relative_to(plan.folder) for source in sources], plan.encoding.format)
    targets = [plan.out / name for name in names.values()]
    refuse_overwriting(plan.folder, plan.out, targets)
    check_folders(plan.folder, plan.out)
    options = opening.fingerprint(**dataclasses.asdict(plan.encoding))
    with Journal(plan.folder, plan.out, options) as journal:
        jobs: list[Job] = []
        before = skipped = 0
        for source, target in zip(sources, targets, strict=True):
            size, mtime_ns = _stamp(source)
            if journal.is_done(source, size, mtime_ns):
                before += 1
            elif plan.skip_existing and target.exists():
                skipped += 1
            else:
                part = journal.parts / f"{secrets.token_hex(8)}{target.suffix}"
                jobs.append(Job(len(jobs), source, target, part, size, mtime_ns))
        run = _Run(journal, len(jobs), on_done)
        if jobs:
            run.take(plan, opening, jobs)
    return FolderResult(
        restored=tuple((job.source, job.target) for job in jobs if job.number in run.restored),
        failed=tuple(Failure(job.source, run.failed[job.number]) for job in jobs if job.number in run.failed),
        before=before,
        skipped=skipped,
        seconds=time.perf_counter() - began,
        engine=run.engine,
        iterations=run.iterations,
    )


class _Run:
    """Gives finished results their names and counts."""

    def __init__(self, journal: Journal, total: int, on_done: OnDone | None) -> None:
        self._journal, self._total, self._on_done = journal, total, on_done
        self.restored: set[int] = set()
        self.failed: dict[int, NafdeployError] = {}
        self.iterations: Counter[int] = Counter()
        self.engine = ""

    def take(self, plan: FolderPlan, opening: Opening, jobs: list[Job]) -> None:
        for folder in sorted({job.target.parent for job in jobs}):
            with contextlib.suppress(OSError):  # a file in the way fails the pictures that belong there
                folder.mkdir(parents=True, exist_ok=True)
        if self._on_done is not None:
            self._on_done(plan.folder, 0, self._total)
        quality = plan.encoding.quality
        if plan.workers == 1:
            with opening.open() as restorer:
                self._heard(restorer.engine.name)
                self._collect(restore_jobs(restorer, iter(jobs), quality))
        else:
            shared = dataclasses.replace(opening, threads=opening.threads or _threads_each(plan.workers))
            self._collect(restore_in_processes(shared, jobs, plan.workers, quality, self._heard))

    def _heard(self, engine: str) -> None:
        self.engine = engine

    def _collect(self, results: Generator[Done, None, None]) -> None:
        with contextlib.closing(results) as every:
            for done in every:
                self._settle(done)
                if self._on_done is not None:
                    self._on_done(done.job.source, len(self.restored) + len(self.failed), self._total)

    def _settle(self, done: Done) -> None:
        number, error = done.job.number, done.error
        self.iterations.update(done.iterations)
        try:
            if done.written is not None and error is None:
                self._journal.commit(done)
            elif done.written is not None:
                self._journal.publish(done)
        except ImageError as refused:
            error = refused
        if error is None:
            self.restored.add(number)
        else:
            self.failed[number] = error


def _stamp(source: Path) -> tuple[int, int]:
    try:
        stat = source.stat()
    except OSError:  # a dangling link; reading it will say what is wrong
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _threads_each(workers: int) -> int:
    return max((os.cpu_count() or 1) // workers, 1)
