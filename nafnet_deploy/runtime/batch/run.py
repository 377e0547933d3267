"""A folder of pictures in, a folder of restored pictures out, each exactly once however often the run is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from nafnet_deploy.errors import ImageError, NafdeployError
from nafnet_deploy.runtime.batch.jobs import Done, Job, OnEngine
from nafnet_deploy.runtime.batch.pipeline import restore_jobs
from nafnet_deploy.runtime.batch.sources import matching, target_names
from nafnet_deploy.runtime.batch.storage import Disk, FolderPlan, JournalLike, Storage
from nafnet_deploy.runtime.batch.workers import restore_in_processes
from nafnet_deploy.runtime.memory import shared_limit
from nafnet_deploy.runtime.opening import Opening


@dataclasses.dataclass(frozen=True)
class Failure:
    """A picture that could not be restored."""

    source: Path
    """The file."""
    error: NafdeployError
    """What was wrong; has `message` and `mend`."""


@dataclasses.dataclass(frozen=True)
class FolderResult:
    """What became of a folder."""

    folder: Path
    """Where the sources are."""
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


Executor = Callable[[list[Job], OnEngine], Generator[Done, None, None]]
"""Restores jobs into their parts, in any order, and tells of its engines."""


def restore_folder(
    plan: FolderPlan,
    opening: Opening,
    on_done: OnDone | None = None,
    executor: Executor | None = None,
    storage: Storage | None = None,
    note: Callable[[str], None] | None = None,
) -> FolderResult:
    """Restores every picture of a folder, in name order, and goes on after a bad one.

    Pictures are found by suffix (`PICTURE_SUFFIXES`); hidden files are left out. Results keep their names; a suffix
    that cannot be written becomes `.png`, and where that name belongs to another picture the full name gets
    `.png` appended. The journal in `plan.out` remembers what is done: a run that was interrupted or killed goes on
    where it was, and pictures or options that changed are done anew.

    Args:
        plan: which pictures.
        opening: how the engine is opened; not before there is something to do.
        on_done: told about progress.
        executor: restores the pictures; None for `plan.workers` on this machine.
        storage: where they lie; None for this machine's disk.
        note: told once what `auto` passed over, on whichever process or machine.

    Raises:
        UsageError: the folder is missing or holds no matching picture, `out` is the folder itself, a result would
            overwrite an input, or another run is writing into `out`.
        ImageError: `out` cannot be made or written to.
        ConfigError, EngineError, MachineError: the engine cannot be opened.
    """
    began = time.perf_counter()
    executor = executor or _here(plan, opening)
    storage = storage or Disk()
    found = storage.find(plan)
    # named before they are chosen: another pattern must not give one picture the name of another's result
    names = target_names([source.relative_to(plan.folder) for source in found], plan.encoding.format)
    sources = matching(found, plan.folder, plan.pattern)
    targets = [plan.out / names[source.relative_to(plan.folder)] for source in sources]
    storage.prepare(plan, targets)
    options = opening.fingerprint(**dataclasses.asdict(plan.encoding))
    with storage.journal(plan, options) as journal:
        jobs: list[Job] = []
        before = skipped = 0
        for source, target in zip(sources, targets, strict=True):
            size, mtime_ns = storage.stamp(source)
            if journal.is_done(source, target, size, mtime_ns):
                before += 1
            elif plan.skip_existing and storage.exists(target):
                skipped += 1
            else:
                part = journal.parts / f"{secrets.token_hex(8)}{target.suffix}"
                jobs.append(Job(len(jobs), source, target, part, size, mtime_ns))
        run = _Run(journal, len(jobs), on_done, note)
        if jobs:
            storage.make_folders(sorted({job.target.parent for job in jobs}))
            if on_done is not None:
                on_done(plan.folder, 0, len(jobs))
            run.collect(executor(jobs, run.heard))
    return FolderResult(
        folder=plan.folder,
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

    def __init__(
        self, journal: JournalLike, total: int, on_done: OnDone | None, note: Callable[[str], None] | None
    ) -> None:
        self._journal, self._total, self._on_done, self._note = journal, total, on_done, note
        self._noted: set[str] = set()
        self.restored: set[int] = set()
        self.failed: dict[int, NafdeployError] = {}
        self.iterations: Counter[int] = Counter()
        self.engine = ""

    def heard(self, engine: str, notes: Sequence[str]) -> None:
        self.engine = self.engine or engine
        for line in notes:
            if line not in self._noted and self._note is not None:
                self._note(line)
            self._noted.add(line)

    def collect(self, results: Generator[Done, None, None]) -> None:
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


def _here(plan: FolderPlan, opening: Opening) -> Executor:
    """Restores on this machine."""
    quality = plan.encoding.quality

    def alone(jobs: list[Job], heard: OnEngine) -> Generator[Done, None, None]:
        notes: list[str] = []
        with opening.open(notes.append) as restorer:
            heard(restorer.engine.name, notes)
            yield from restore_jobs(restorer, iter(jobs), quality)

    def together(jobs: list[Job], heard: OnEngine) -> Generator[Done, None, None]:
        threads = opening.threads or _threads_each(plan.workers)
        shared = dataclasses.replace(opening, threads=threads, limit=shared_limit(opening.limit, plan.workers))
        yield from restore_in_processes(shared, jobs, plan.workers, quality, heard)

    return alone if plan.workers == 1 else together


def _threads_each(workers: int) -> int:
    return max((os.cpu_count() or 1) // workers, 1)
