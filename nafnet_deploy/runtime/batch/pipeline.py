"""One engine kept busy: the next pictures are decoded and the last ones encoded while it restores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nafnet_deploy.errors import EngineError, ImageError, NafdeployError
from nafnet_deploy.images.files import read_picture, read_size
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import check_target, write_picture
from nafnet_deploy.runtime.batch.jobs import Done, Job
from nafnet_deploy.runtime.files import fault_of, restore_file, restored_pixels
from nafnet_deploy.runtime.huge import in_parts
from nafnet_deploy.runtime.restorer import Restorer

AHEAD = 2
"""Pictures that are decoded before their turn, and at most as many that wait to be encoded."""
LARGE = 2**24
"""A picture of more pixels is restored with nothing beside it in memory."""
_WRITERS = 2


def restore_jobs(
    restorer: Restorer, jobs: Iterator[Job], quality: int | None = None, ahead: int = AHEAD
) -> Generator[Done, None, None]:
    """Restores pictures into their parts, in order; a bad one becomes a `Done` with its error.

    Decoding runs in one thread (opening a picture locks Pillow's global settings, so two would wait for each other),
    the engine in the caller's, and encoding in two.

    Args:
        restorer: ready to run.
        jobs: asked for the next one when there is room.
        quality: of JPEG and WebP; see `write_picture`.
        ahead: pictures decoded before their turn; with 0 everything about one picture ends before the next begins.
    """
    if restorer.limit is not None:  # the limit is for one picture
        ahead = 0
    reading, writing = ThreadPoolExecutor(1, "decode"), ThreadPoolExecutor(_WRITERS, "encode")
    waiting: deque[tuple[Job, Future[Picture | None]]] = deque()
    leaving: deque[Future[Done]] = deque()
    try:
        more = True
        while more or waiting:
            while more and len(waiting) <= ahead:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    waiting.append((job, reading.submit(_read, restorer, job)))
            if not waiting:
                break
            job, read = waiting.popleft()
            leaving.append(_restore(restorer, job, read, quality, writing))
            while leaving and (leaving[0].done() or len(leaving) > ahead):
                yield leaving.popleft().result()
        while leaving:
            yield leaving.popleft().result()
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown(cancel_futures=True)


def _read(restorer: Restorer, job: Job) -> Picture | None:
    """The picture, or None for a large one, whose target has then not been checked."""
    if in_parts(restorer, job.source):
        return None
    height, width = read_size(job.source)
    if height * width > LARGE:
        return None
    picture = read_picture(job.source)
    check_target(picture, job.target, restorer.manifest.scale)
    return picture


def _restore(
    restorer: Restorer, job: Job, read: Future[Picture | None], quality: int | None, writing: ThreadPoolExecutor
) -> Future[Done]:
    try:
        picture = read.result()
        if picture is None:
            return _finished(_alone(restorer, job, quality))
        restored = picture.with_pixels(restored_pixels(restorer, picture))
    except NafdeployError as error:
        return _finished(Done(job, None, error))
    return writing.submit(_write, job, restored, quality, *_outcome(restorer, job))


def _write(
    job: Job, picture: Picture, quality: int | None, error: NafdeployError | None, iterations: tuple[int, ...]
) -> Done:
    try:
        write_picture(picture, job.part, quality)
        return Done(job, secured(job.part), error, iterations)
    except NafdeployError as failed:
        return Done(job, None, _by_name(failed, job))


def _alone(restorer: Restorer, job: Job, quality: int | None) -> Done:
    """A large picture from file to file."""
    if job.target.exists() and job.target.samefile(job.source):
        raise ImageError(f"{job.target} is the input itself and is never overwritten.", "Give another folder with -o.")
    try:
        restore_file(restorer, job.source, job.part, quality=quality)
    except EngineError as error:
        if not fault_of(restorer):
            raise
        return Done(job, secured(job.part), _by_name(error, job), _iterations(restorer))
    except NafdeployError as error:
        raise _by_name(error, job) from error
    return Done(job, secured(job.part), None, _iterations(restorer))


def _outcome(restorer: Restorer, job: Job) -> tuple[NafdeployError | None, tuple[int, ...]]:
    fault = fault_of(restorer)
    error = (
        EngineError(
            f"{fault}; {job.target.name} holds the result of the iterations before.",
            "Check the bundle with: nafdeploy parity",
        )
        if fault
        else None
    )
    return error, _iterations(restorer)


def _iterations(restorer: Restorer) -> tuple[int, ...]:
    return tuple(outcome.iterations for outcome in restorer.outcomes)


def _finished(done: Done) -> Future[Done]:
    future: Future[Done] = Future()
    future.set_result(done)
    return future


def _by_name(error: NafdeployError, job: Job) -> NafdeployError:
    """The error in terms of the name that the user knows."""
    error.message = error.message.replace(str(job.part), str(job.target)).replace(job.part.name, job.target.name)
    return error


def secured(path: Path) -> int:
    """Waits until a file is safe on the disk; returns its size (bytes).

    Raises:
        ImageError: the disk refused.
    """
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror}.", "Make room on the disk.") from error
