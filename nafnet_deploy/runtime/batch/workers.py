"""Several processes with one engine each, asked for one picture after the other; one that dies is replaced.

A worker asks for each job, so it never has more than it can decode ahead. It learns from its closed connection that the
parent is gone, and ends. It writes parts only: the journal and the names of results belong to the parent.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from nafnet_deploy.errors import MachineError, NafdeployError
from nafnet_deploy.runtime.batch.jobs import Done, Job, OnEngine
from nafnet_deploy.runtime.batch.pipeline import AHEAD, restore_jobs
from nafnet_deploy.runtime.opening import Opening

_MORE = "more"
"""What a worker says to get a job; None is the answer when there is none."""


@dataclasses.dataclass
class _Ready:
    """A worker's engine is open."""

    engine: str
    notes: list[str]
    """What `auto` passed over."""


@dataclasses.dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    careful: bool
    """Handles one picture at a time: it stands in for a worker that died, and what killed that one must be known."""
    ready: bool = False
    leaving: bool = False
    """Was told that there is nothing left."""
    flying: dict[int, Job] = dataclasses.field(default_factory=dict)


def restore_in_processes(
    opening: Opening,
    jobs: Iterable[Job],
    workers: int,
    quality: int | None = None,
    on_engine: OnEngine | None = None,
) -> Generator[Done, None, None]:
    """Restores pictures into their parts in several processes, in the order in which they are finished.

    A picture whose process dies (killed, out of memory) is tried once more in one that handles a picture at a time, and
    becomes a failure when that dies too.

    Args:
        opening: how each process opens its engine.
        jobs: the pictures.
        workers: processes.
        quality: of JPEG and WebP.
        on_engine: told of each engine.

    Raises:
        NafdeployError: a process could not open its engine, or ended before that.
    """
    pool = _Pool(opening, deque(jobs), quality, on_engine)
    try:
        yield from pool.run(workers)
    finally:
        pool.stop()


class _Pool:
    def __init__(self, opening: Opening, jobs: deque[Job], quality: int | None, on_engine: OnEngine | None) -> None:
        self._opening, self._quality, self._on_engine = opening, quality, on_engine
        self._jobs = jobs
        self._again: deque[Job] = deque()
        self._workers: dict[Connection, _Worker] = {}

    def run(self, workers: int) -> Iterator[Done]:
        for _ in range(min(workers, len(self._jobs))):
            self._start(careful=False)
        while self._workers:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                worker = self._workers[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    yield from self._ended(worker)
                    continue
                if isinstance(message, Done):
                    del worker.flying[message.job.number]
                    yield message
                elif isinstance(message, _Ready):
                    worker.ready = True
                    if self._on_engine is not None:
                        self._on_engine(message.engine, message.notes)
                elif isinstance(message, Exception):
                    raise message
                else:
                    self._answer(worker)

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()

    def _start(self, careful: bool) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of an engine
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._opening, self._quality, 0 if careful else AHEAD), daemon=True
        )
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        self._workers[ours] = _Worker(process, ours, careful)

    def _answer(self, worker: _Worker) -> None:
        queue = self._again if worker.careful and self._again else self._jobs
        job = queue.popleft() if queue else None
        if job is None:
            worker.leaving = True
        else:
            worker.flying[job.number] = job
        try:
            worker.connection.send(job)
        except OSError:  # it died; `recv` will say so next
            return

    def _ended(self, worker: _Worker) -> Iterator[Done]:
        """A worker that had enough, or died."""
        del self._workers[worker.connection]
        worker.connection.close()
        worker.process.join()
        if not worker.ready:
            raise MachineError(
                f"a worker process ended before its engine was open ({_cause(worker.process)}).",
                "Use fewer --workers, or see whether --workers 1 works.",
            )
        if worker.careful:
            for job in worker.flying.values():
                message = f"the process that restored {job.source} ended ({_cause(worker.process)})."
                yield Done(job, None, MachineError(message, "Use fewer --workers or smaller tiles, e.g. --tile 256."))
        else:
            self._again.extend(worker.flying.values())
        lost = self._again or (self._jobs and not worker.leaving)
        if lost and not any(other.careful and not other.leaving for other in self._workers.values()):
            self._start(careful=True)


def _work(connection: Connection, opening: Opening, quality: int | None, ahead: int) -> None:
    """What a worker process does."""
    try:
        notes: list[str] = []
        with opening.open(notes.append) as restorer:
            connection.send(_Ready(restorer.engine.name, notes))
            for done in restore_jobs(restorer, _asked(connection), quality, ahead):
                connection.send(done)
    except (EOFError, ConnectionError):  # the parent is gone
        return
    except NafdeployError as error:
        connection.send(error)


def _asked(connection: Connection) -> Iterator[Job]:
    while True:
        connection.send(_MORE)
        job = connection.recv()
        if job is None:
            return
        yield job


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here ignore Ctrl-C, which a terminal sends to all: the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cause(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"code {code}"
