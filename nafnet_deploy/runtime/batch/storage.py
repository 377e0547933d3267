"""What is asked of a run over a folder, and where its pictures lie and its results go."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from nafnet_deploy.runtime.batch.jobs import Done, Encoding
from nafnet_deploy.runtime.batch.journal import Journal
from nafnet_deploy.runtime.batch.sources import check_folders, find_pictures, refuse_overwriting


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


class Storage(Protocol):
    """Where the pictures of a run lie, and where its results go."""

    def find(self, plan: FolderPlan) -> list[Path]:
        """The pictures of the folder, in name order, whatever the pattern."""

    def prepare(self, plan: FolderPlan, targets: list[Path]) -> None:
        """Makes the output folder, unless results would lie among the inputs."""

    def journal(self, plan: FolderPlan, options: str) -> AbstractContextManager[JournalLike]:
        """The journal of the output folder."""

    def stamp(self, source: Path) -> tuple[int, int]:
        """Bytes and time of the last change (nanoseconds) of a source.

        The time is 0 where the storage keeps none; -1, -1 when it cannot be asked.
        """

    def exists(self, target: Path) -> bool:
        """Whether there is a result already."""

    def make_folders(self, folders: Iterable[Path]) -> None:
        """Makes folders for results."""


class JournalLike(Protocol):
    """What a run needs of a journal; see `Journal`."""

    @property
    def parts(self) -> Path: ...
    def is_done(self, source: Path, target: Path, size: int, mtime_ns: int) -> bool: ...
    def commit(self, done: Done) -> None: ...
    def publish(self, done: Done) -> None: ...


class Disk:
    """Folders of this machine."""

    def find(self, plan: FolderPlan) -> list[Path]:
        return find_pictures(plan.folder, plan.out, plan.recursive)

    def prepare(self, plan: FolderPlan, targets: list[Path]) -> None:
        refuse_overwriting(plan.folder, plan.out, targets, plan.skip_existing)
        check_folders(plan.folder, plan.out)

    def journal(self, plan: FolderPlan, options: str) -> AbstractContextManager[JournalLike]:
        return Journal(plan.folder, plan.out, options)

    def stamp(self, source: Path) -> tuple[int, int]:
        try:
            stat = source.stat()
        except OSError:  # a dangling link; reading it will say what is wrong
            return -1, -1
        return stat.st_size, stat.st_mtime_ns

    def exists(self, target: Path) -> bool:
        return target.exists()

    def make_folders(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            with contextlib.suppress(OSError):  # a file in the way fails the pictures that belong there
                folder.mkdir(parents=True, exist_ok=True)
