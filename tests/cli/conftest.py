"""The real command, in this process (fast) or as a process of its own, and a folder to work in."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.cli import main

COMMAND = (sys.executable, "-m", "nafnet_deploy")


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str) -> None:
        """Asserts the contract of every error: the code, nothing on stdout, one line with all the words."""
        assert self.code == code, self.err
        assert self.out == ""
        assert self.err.startswith("nafdeploy: ")
        assert len(self.err.splitlines()) == 1, self.err
        for word in words:
            assert word in self.err


Command = Callable[..., Done]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("run", path, ...)`: the entry point in this process."""

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["nafdeploy", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture
def spawn() -> Command:
    """`spawn("run", path, ...)`: `python -m nafnet_deploy` as a process of its own."""

    def call(*arguments: str | Path) -> Done:
        done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=plain_environment())
        return Done(done.returncode, done.stdout, done.stderr)

    return call


def plain_environment() -> dict[str, str]:
    """This environment without what makes rich colour or reshape its output."""
    return {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS", "PY_COLORS")}


def photo(path: Path, size: tuple[int, int] = (48, 40), seed: int = 0) -> Path:
    """A smooth random RGB picture of width x height on disk."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """`a.png` in an empty folder."""
    return photo(tmp_path / "a.png")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
