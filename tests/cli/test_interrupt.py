"""Ctrl-C, as a terminal sends it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from nafnet_deploy.runtime.batch.journal import JOURNAL
from tests.cli.conftest import COMMAND, photo, plain_environment, snapshot
from tests.runtime.test_video import write

PICTURES, FRAMES = 300, 1000


def default_interrupt() -> None:
    """A test run started in the background ignores Ctrl-C, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGINT), ("2", signal.SIGINT), ("2", signal.SIGTERM)])
def test_ctrl_c_in_a_folder_leaves_whole_pictures_and_one_calm_line(
    tiny: Path, tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    content = photo(tmp_path / "a.png", (256, 256)).read_bytes()
    for i in range(PICTURES):
        (folder / f"{i:03}.png").write_bytes(content)
    before = snapshot(folder)
    process = subprocess.Popen(
        [*COMMAND, "run", str(folder), "-m", str(tiny), "-o", str(out), "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(),
        preexec_fn=default_interrupt,
        start_new_session=True,
    )
    while process.poll() is None and len(list(out.glob("*.png"))) < 2:
        time.sleep(0.005)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the workers too
    else:
        os.kill(process.pid, number)  # a scheduler to the one process that it started
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.startswith("nafdeploy: interrupted")
    assert len(stderr.splitlines()) == 1
    finished = sorted(p.name for p in out.iterdir() if p.name != JOURNAL)
    assert 2 <= len(finished) < PICTURES
    assert workers == "2" or finished == [f"{i:03}.png" for i in range(len(finished))]
    for name in finished:
        with Image.open(out / name) as restored:
            restored.load()
            assert restored.size == (256, 256)
    assert snapshot(folder) == before


def test_sigterm_in_a_clip_leaves_nothing_half_written(tiny: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", [40 * n for n in range(FRAMES)], sound=None)
    process = subprocess.Popen(
        [*COMMAND, "run", str(clip), "-m", str(tiny)], stderr=subprocess.PIPE, text=True, env=plain_environment()
    )
    while process.poll() is None and not list(tmp_path.glob(".*.part")):
        time.sleep(0.005)
    process.terminate()
    assert process.wait() == 130
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
