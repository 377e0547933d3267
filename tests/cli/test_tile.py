"""`nafdeploy tile`: what it writes and says, and every request that it must refuse."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Command, photo, plain_environment, snapshot


def test_a_frame_of_720p_becomes_eight_tiles_or_four(spawn: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "f.jpg", (1280, 720))
    done = spawn("tile", tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{tmp_path / 'in'} -> {tmp_path / 'out'}: 1 frames cut into 8 tiles, 0 failed\n"
    assert sorted(snapshot(tmp_path / "out")) == [
        f"f_y{y:06}_x{x:06}.png" for y in (0, 208) for x in (0, 256, 512, 768)
    ]
    done = spawn("tile", tmp_path / "in", "-o", tmp_path / "four", "--border", "drop")
    assert sorted(snapshot(tmp_path / "four")) == [f"f_y000000_x{x:06}.png" for x in (0, 256, 512, 768)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for kind in ("degraded", "clean"):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for name in "abc":
            photo(tmp_path / "in" / kind / f"{name}.png")
    return tmp_path / "in"


def test_pairs_are_counted_once_and_bad_ones_listed(command: Command, pairs: Path) -> None:
    (pairs / "clean" / "b.png").write_text("no picture")
    out = pairs.parent / "out"
    done = command("tile", pairs, "-o", out, "--size", "32", "--overlap", "16")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == f"{pairs} -> {out}: 2 frames cut into 8 tiles of each of 2 folders, 1 failed"
    assert second.startswith("  b.png: ")
    assert len(snapshot(out)) == 16
    command("tile", pairs, "-o", out, "--size", "32", "--overlap", "16").refused(2, "16 files exist", "--overwrite")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "0"], ["--size 0", "1 or more"]),
        (["--size", "8", "--overlap", "8"], ["--overlap 8", "0 to 7"]),
        (["--overlap", "-1"], ["--overlap -1"]),
        (["--border", "pad"], ["--border pad", "shift or drop"]),
    ],
)
def test_impossible_options_are_refused(command: Command, pairs: Path, options: list[str], words: list[str]) -> None:
    command("tile", pairs, "-o", pairs.parent / "out", *options).refused(2, *words)
    assert not (pairs.parent / "out").exists()


def test_mismatches_are_one_line(command: Command, pairs: Path) -> None:
    (pairs / "clean" / "a.png").rename(pairs / "clean" / "z.png")
    photo(pairs / "clean" / "b.png", (20, 20))
    line = ["degraded/a.png", "clean/z.png", "3 files do not pair", "48x40 but clean 20x20"]
    command("tile", pairs, "-o", pairs.parent / "out").refused(2, *line)
    assert not (pairs.parent / "out").exists()


@pytest.mark.parametrize(
    ("source", "out", "words"),
    [
        ("nowhere", "out", ["nowhere is not a folder"]),
        ("empty", "out", ["empty holds no pictures"]),
        ("in/clean", "in/clean", ["folder of the inputs"]),
        ("in", "in", ["folder of the inputs"]),
        ("in/clean", "in/clean/a.png", ["a.png cannot be made"]),
    ],
)
def test_folders_that_cannot_be_used_are_one_line(
    command: Command, pairs: Path, source: str, out: str, words: list[str]
) -> None:
    root = pairs.parent
    (root / "empty").mkdir()
    before = snapshot(root)
    command("tile", root / source, "-o", root / out).refused(2, *words)
    assert snapshot(root) == before


def test_a_disk_that_takes_no_more_leaves_whole_frames_only(pairs: Path) -> None:
    for kind in ("degraded", "clean"):
        photo(pairs / kind / "b.png", (400, 300))
    out = pairs.parent / "out"
    done = subprocess.run(
        [*COMMAND, "tile", str(pairs), "-o", str(out), "--size", "256", "--overlap", "0"],
        capture_output=True,
        text=True,
        env=plain_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "b_y000000_x000000.png cannot be written: File too large." in done.stderr
    assert sorted(snapshot(out)) == ["clean/a_y000000_x000000.png", "degraded/a_y000000_x000000.png"]
