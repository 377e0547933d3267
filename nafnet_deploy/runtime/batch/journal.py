"""The journal of an output folder: which pictures are done, even when the run was killed.

A result is written whole under a hidden name, then a line about it is made safe in the journal, and only then it gets
its own name. Whatever moment a run is killed at, the next one finds either no line, and restores the picture, or a
line, and at most the renaming is left to do. So no picture is restored into its place twice.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any, Self

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.runtime.batch.jobs import Done

JOURNAL = ".nafdeploy-journal.jsonl"
"""Name of the journal in the output folder; a folder that has one is a result, and never searched for inputs."""
PARTS = ".nafdeploy-parts"
"""Folder in the output folder where results wait for their names."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line: a picture that is done."""

    source: str
    """Path relative to the input folder, with forward slashes."""
    size: int
    """Bytes of the source."""
    mtime_ns: int
    """Time of the source's last change (nanoseconds)."""
    options: str
    """Fingerprint of the model and of everything that changes the result."""
    target: str
    """Path of the result relative to the output folder."""
    part: str
    """Name under which it waited in `PARTS`."""
    written: int
    """Bytes of the result."""

    @classmethod
    def of(cls, done: Done, folder: Path, out: Path, options: str) -> Entry:
        """The line about a result that is written and waits for its name."""
        job = done.job
        assert done.written is not None
        return cls(
            job.source.relative_to(folder).as_posix(),
            job.size,
            job.mtime_ns,
            options,
            job.target.relative_to(out).as_posix(),
            job.part.name,
            done.written,
        )


class KnownResults(abc.ABC):
    """What earlier runs did: the part that journals of every storage share."""

    _folder: Path
    _out: Path
    _done: dict[tuple[str, str], Entry]
    """See `standing`."""

    @abc.abstractmethod
    def written(self, target: str) -> int:
        """Bytes of a result; an OSError where it is not there."""

    def is_done(self, source: Path, target: Path, size: int, mtime_ns: int) -> bool:
        """Whether this very picture was restored with these options into `target`, and nothing came after it there.

        Of a picture that could not be asked for its size (-1) that is not known, and then it is not so.
        """
        entry = self._done.get((source.relative_to(self._folder).as_posix(), target.relative_to(self._out).as_posix()))
        if size < 0 or entry is None or (entry.size, entry.mtime_ns) != (size, mtime_ns):
            return False
        try:
            return self.written(entry.target) == entry.written
        except OSError:
            return False


class Journal(KnownResults):
    """The journal of an output folder, open for one run alone.

    Args:
        folder: of the inputs.
        out: of the results; exists.
        options: fingerprint of the model and of everything that changes a result.

    Raises:
        UsageError: another run is writing into `out`.
        ImageError: `out` cannot be written to.
    """

    def __init__(self, folder: Path, out: Path, options: str) -> None:
        self._folder, self._out, self._options = folder, out, options
        self._naming: Entry | None = None
        self.path = out / JOURNAL
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise ImageError(
                f"the folder {out} cannot be written to: {error.strerror}.", "Check its permissions, or use -o."
            ) from error
        try:
            self._lock()
            self._file.seek(0)
            content = self._file.read()
            entries = read_entries(content)
            self._torn = bool(content) and not content.endswith(b"\n")
            self._finish(entries)
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(exist_ok=True)  # a worker of a killed run may live a moment longer and write into it
        except OSError as error:
            self._file.close()
            raise ImageError(
                f"the folder {out} cannot be written to: {error.strerror}.", "Check its permissions, or use -o."
            ) from error
        except BaseException:
            self._file.close()
            raise
        self._done = standing(entries, options)

    @property
    def parts(self) -> Path:
        """Where results wait for their names; on the same disk as these."""
        return self._out / PARTS

    def written(self, target: str) -> int:
        """As that of `KnownResults`."""
        return (self._out / target).stat().st_size

    def commit(self, done: Done) -> None:
        """Makes a line safe on the disk and gives the result its name.

        Raises:
            ImageError: the disk refused.
        """
        entry = Entry.of(done, self._folder, self._out, self._options)
        self._naming = entry
        line = json.dumps(dataclasses.asdict(entry)).encode() + b"\n"
        try:
            # one write: what a kill leaves is no line, a whole line, or (power loss) a torn one, which is passed over
            self._file.write(b"\n" + line if self._torn else line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._torn = False
        except OSError as error:
            self._torn = True
            raise ImageError(f"{self.path} cannot be written: {error.strerror}.", "Make room on the disk.") from error
        self.publish(done)
        self._naming = None

    def publish(self, done: Done) -> None:
        """Gives a result its name without a line: the picture will be tried again by the next run.

        Raises:
            ImageError: the name cannot be given.
        """
        try:
            done.job.part.replace(done.job.target)
        except OSError as error:
            raise ImageError(
                f"{done.job.target} cannot be written: {error.strerror}.", "Check the folder, or use -o."
            ) from error

    def close(self) -> None:
        """Ends the run: what still waits for a name is removed, and another run may begin."""
        if self._naming is not None:  # Ctrl-C came between a line and its name
            self._finish([self._naming])
        shutil.rmtree(self.parts, ignore_errors=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(self, entries: list[Entry]) -> None:
        """Gives the results whose line was written their names, where the kill came in between."""
        for entry in entries:
            part = self.parts / entry.part
            with contextlib.suppress(OSError):  # what cannot get its name is restored again
                if part.is_file() and part.stat().st_size == entry.written:
                    part.replace(self._out / entry.target)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two runs into one folder are left to the user
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing into {self._out}.", "Wait for it, or give another folder with -o."
            ) from error
        except OSError:  # a file system without locks
            return


def standing(entries: list[Entry], options: str) -> dict[tuple[str, str], Entry]:
    """What holds of a journal's lines, by source and target: the last line about each target, if of these options.

    The last of all options: what was written with others since is not what these give, though it may be as long.
    """
    last = {entry.target: entry for entry in entries}
    return {(entry.source, entry.target): entry for entry in last.values() if entry.options == options}


def read_entries(content: bytes) -> list[Entry]:
    """The lines of a journal, in order; a torn or foreign line is passed over."""
    fields = {field.name: int if field.type == "int" else str for field in dataclasses.fields(Entry)}
    entries = []
    for line in content.split(b"\n"):
        try:
            table: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(table, dict) or table.keys() != fields.keys():
            continue
        if all(type(table[name]) is kind for name, kind in fields.items()) and _is_plain(table["part"]):
            entries.append(Entry(**table))
    return entries


def _is_plain(name: str) -> bool:
    """Whether a name cannot lead out of its folder."""
    return Path(name).name == name
