"""`nafdeploy run --memory` and `--ensemble` as a user meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.cli.conftest import COMMAND, Command, photo, plain_environment


def huge(path: Path, side: int) -> Path:
    """A square noisy tiled TIFF, written band by band."""
    rng = np.random.default_rng(0)
    tiles = (rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range((side // 256) ** 2))
    tifffile.imwrite(path, tiles, shape=(side, side, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb")
    return path


def test_an_ensemble_is_another_picture(command: Command, tiny: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    for name, options in (("one.png", []), ("eight.png", ["--ensemble"])):
        assert command("run", source, "-m", tiny, "-o", tmp_path / name, *options).code == 0
    one, eight = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("one.png", "eight.png"))
    assert one.shape == eight.shape
    assert (one != eight).any()


def test_the_views_of_an_ensemble_have_no_progress(command: Command, tiny_split: Path, picture: Path) -> None:
    command("run", picture, "-m", tiny_split, "--progressive", "--ensemble").refused(2, "--progressive", "--ensemble")


# Between them and the run, so that the run's peak is its own: a new process inherits that of the one that starts it.
PEAK = """import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""


@pytest.mark.parametrize(
    ("engine", "limit"),
    [("onnxruntime", 220), ("openvino", 285), ("onnxruntime", 400), ("openvino", 450)],  # MB: in parts twice, in memory
)
def test_a_run_takes_no_more_memory_than_it_may(tmp_path: Path, engine: str, limit: int) -> None:
    source, target = huge(tmp_path / "a.tif", 1024), tmp_path / "b.tif"
    options = ["-m", "denoise-light", "--engine", engine, "--iters", "1", "--memory", f"{limit}MB"]
    line = [sys.executable, "-c", PEAK, *COMMAND, "run", source, "-o", target, *options]
    run = subprocess.run(line, env=plain_environment(), capture_output=True, text=True)
    assert run.returncode == 0
    assert target.exists()
    assert int(run.stdout) * 1024 <= limit * 10**6


def test_a_run_that_is_killed_leaves_no_half_picture(tiny: Path, tmp_path: Path) -> None:
    source, target = huge(tmp_path / "a.tif", 2048), tmp_path / "b.tif"
    run = subprocess.Popen(
        [*COMMAND, "run", source, "-m", tiny, "-o", target, "--memory", "300MB", "--tile", "128"],
        env=plain_environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(tmp_path.glob(".*.part")):
        assert run.poll() is None
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not target.exists()
