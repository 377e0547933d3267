"""Folders behind URLs, through fsspec: what `batch` asks of a disk, asked of any file system."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from nafnet_deploy.errors import ImageError, MachineError, MissingDependency, UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES
from nafnet_deploy.runtime.batch.jobs import Done
from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS, Entry, Journal, KnownResults, read_entries, standing
from nafnet_deploy.runtime.batch.sources import refuse_replacing
from nafnet_deploy.runtime.batch.storage import FolderPlan, JournalLike


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder somewhere."""

    system: Any
    """The fsspec file system."""
    path: Path
    """Where it is there; of this machine, absolute."""

    @property
    def local(self) -> bool:
        """Whether it is on this machine's own disk."""
        protocol = self.system.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def open_place(url: str) -> Place:
    """The folder that a path or URL names.

    Raises:
        UsageError: an unknown scheme.
        MachineError: a scheme whose package is not installed.
        MissingDependency: fsspec is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependency("fsspec", "cluster", "to reach folders of a cluster") from error
    scheme = url.partition("://")[0]
    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise MachineError(
            f"{scheme}:// needs a package that is not installed: {error}.",
            f"Install it on every machine with: pip install 'fsspec[{scheme}]'",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"the scheme of {url} is unknown: {error}.", "Use a path, or a scheme of fsspec, e.g. s3://"
        ) from error
    return Place(system, Path(path))


class Remote:
    """Satisfies `batch.storage.Storage`; at least one of the two folders is not on this machine's disk."""

    def __init__(self, source: Place, out: Place) -> None:
        self._source, self._out = source, out

    def find(self, plan: FolderPlan) -> list[Path]:
        system, folder = self._source.system, plan.folder
        try:
            listed = system.find(str(folder)) if plan.recursive else system.ls(str(folder), detail=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{folder} cannot be listed: {_reason(error)}.", "Check the URL.") from error
        paths = [Path(path) for path in listed]
        results = {path.parents[1] for path in paths if path.parent.name == JOURNAL}  # folders that hold our results
        results.discard(folder)
        return sorted(
            path
            for path in paths
            if path.suffix.lower() in PICTURE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and results.isdisjoint(path.parents)
            and (plan.recursive or not system.isdir(str(path)))
            and not (self._same() and plan.out != folder and plan.out in path.parents)
        )

    def prepare(self, plan: FolderPlan, targets: list[Path]) -> None:
        if self._same() and (plan.out == plan.folder or plan.out in plan.folder.parents):
            raise UsageError(f"{plan.out} holds the folder of the inputs.", "Give another folder with -o.")
        if self._same() and plan.folder in plan.out.parents and not self._has_journal(plan.out):
            refuse_replacing([target for target in targets if self.exists(target)])
        self.make_folders([plan.out])

    def journal(self, plan: FolderPlan, options: str) -> contextlib.AbstractContextManager[JournalLike]:
        if self._out.local:
            return Journal(plan.folder, plan.out, options)
        return RemoteJournal(self._out.system, plan.folder, plan.out, options)

    def stamp(self, source: Path) -> tuple[int, int]:
        system = self._source.system
        try:
            return int(system.info(str(source))["size"]), _changed(system, source)
        except (OSError, KeyError, TypeError):  # reading it will say what is wrong
            return -1, -1

    def exists(self, target: Path) -> bool:
        return bool(self._out.system.exists(str(target)))

    def make_folders(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            with _naming(folder):
                self._out.system.makedirs(str(folder), exist_ok=True)

    def _has_journal(self, out: Path) -> bool:
        return self.exists(out / JOURNAL)

    def _same(self) -> bool:
        return bool(self._source.system == self._out.system)


class RemoteJournal(KnownResults):
    """The journal where files cannot be appended to: a folder with a small file for each line.

    Two runs into one folder are not kept apart: such file systems have no locks.
    """

    def __init__(self, system: Any, folder: Path, out: Path, options: str) -> None:
        self._system, self._folder, self._out, self._options = system, folder, out, options
        self._lines = out / JOURNAL
        self._naming: Entry | None = None
        with _naming(out):
            system.makedirs(str(self._lines), exist_ok=True)
            entries = [
                entry
                for path in sorted(system.ls(str(self._lines), detail=False))
                if str(path).endswith(".json")
                for entry in read_entries(system.cat_file(path))
            ]
            for entry in entries:
                self._finish(entry)
            self._clear()
            system.makedirs(str(self.parts), exist_ok=True)
        self._done = standing(entries, options)

    @property
    def parts(self) -> Path:
        """Where results wait for their names."""
        return self._out / PARTS

    def written(self, target: str) -> int:
        """As that of `KnownResults`."""
        return int(self._system.size(str(self._out / target)))

    def commit(self, done: Done) -> None:
        """As that of `Journal`."""
        assert done.written is not None
        self._naming = entry = Entry.of(done, self._folder, self._out, self._options)
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}.json"  # sorted by time: the last line of a picture counts
        with _naming(self._lines):
            self._system.pipe_file(str(self._lines / name), json.dumps(dataclasses.asdict(entry)).encode())
        self.publish(done)
        self._naming = None

    def publish(self, done: Done) -> None:
        """As that of `Journal`."""
        with _naming(done.job.target):
            if self._system.exists(str(done.job.target)):
                self._system.rm_file(str(done.job.target))
            self._system.mv(str(done.job.part), str(done.job.target))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._naming is not None:  # Ctrl-C came between a line and its name
            with contextlib.suppress(OSError):
                self._finish(self._naming)
        self._clear()

    def _finish(self, entry: Entry) -> None:
        """Gives a result whose line was written its name, where a kill came in between."""
        part = str(self.parts / entry.part)
        if self._system.exists(part) and self._system.size(part) == entry.written:
            self._system.mv(part, str(self._out / entry.target))

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            self._system.rm(str(self.parts), recursive=True)


@contextlib.contextmanager
def _naming(path: Path) -> Any:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be written: {_reason(error)}.", "Check the URL and your rights.") from error


def _changed(system: Any, path: Path) -> int:
    """Time of the last change (nanoseconds); 0 where none is kept by this kind of file system, or of this file."""
    try:
        time = system.modified(str(path))
    except (NotImplementedError, KeyError):  # fsspec's own answer; an `info` without the time
        return 0
    return 0 if time is None else int(time.timestamp() * 1e9)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
