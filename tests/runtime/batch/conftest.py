"""Folders of small pictures, and restorers to be opened for them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.batch.run import FolderResult
from nafnet_deploy.runtime.restorer import Restorer


@dataclasses.dataclass
class Around:
    """Opens a restorer that is there already, in place of `Opening`."""

    restorer: Restorer
    options: str = "plain"

    @contextlib.contextmanager
    def open(self, note: object = None) -> Iterator[Restorer]:
        yield self.restorer

    def fingerprint(self, **more: Any) -> str:
        return f"{self.options} {sorted(more.items())}"


@pytest.fixture
def inverting(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Around:
    """Inverts a picture."""
    return Around(Restorer(numpy_engine(lambda batch: 1 - batch), manifest()))


def save(path: Path, value: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (value,) * 3).save(path)
    return path


def names(folder: Path) -> list[str]:
    """Every file below a folder but hidden ones, in order."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def restored(result: FolderResult) -> list[str]:
    return [source.name for source, _ in result.restored]
