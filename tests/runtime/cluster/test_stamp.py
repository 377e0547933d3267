"""What tells whether a picture behind a URL has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem

from nafnet_deploy.runtime.cluster.remote import Place, Remote


class Timeless(AbstractFileSystem):
    """A file system without times, which is fsspec's default."""

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "size": 7, "type": "file"}


class Partial(Timeless):
    """It keeps times, and has none of this file."""

    def modified(self, path: str) -> Any:
        return self.info(path)["LastModified"]


class Lost(Timeless):
    """Its connection breaks when it is asked for the time."""

    def modified(self, path: str) -> Any:
        raise ConnectionResetError("gone")


@pytest.mark.parametrize(("system", "stamp"), [(Timeless(), (7, 0)), (Partial(), (7, 0)), (Lost(), (-1, -1))])
def test_a_broken_connection_is_not_a_storage_without_times(system: AbstractFileSystem, stamp: tuple[int, int]) -> None:
    place = Place(system, Path("/folder"))
    assert Remote(place, place).stamp(Path("/folder/a.png")) == stamp
