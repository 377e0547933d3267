"""`nafdeploy run DIR` killed with -9 at random moments: all restored, none twice, none half-written."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS, read_entries
from tests.cli.conftest import COMMAND, Command, photo, plain_environment, snapshot


def start(folder: Path, out: Path, model: Path, *options: str) -> subprocess.Popen[bytes]:
    line = [*COMMAND, "run", str(folder), "-m", str(model), "-o", str(out), "--engine", "onnxruntime", *options]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=plain_environment())


def finished(out: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, time of the last change and size of each result."""
    found = {path.name: path.stat() for path in out.glob("*.png")}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def kill_at_random(folder: Path, out: Path, model: Path, kills: int, *options: str) -> None:
    """Kills runs with -9 after a random number of further results; checks what each leaves and what the last makes."""
    total, chance = len(list(folder.iterdir())), random.Random(0)
    seen: dict[str, tuple[int, int, int]] = {}
    for number in range(kills):
        goal = min(len(seen) + chance.randint(1, max(total // (kills + 1), 1)), total - 1)
        process = start(folder, out, model, *options)
        while process.poll() is None and len(list(out.glob("*.png"))) < goal:
            time.sleep(0.002)
        time.sleep(chance.random() / 100)
        process.kill()
        assert process.wait() == -9, f"run {number} ended before it was killed"
        left = finished(out)
        assert seen.items() <= left.items()
        assert len(left) < total
        seen = left
    assert start(folder, out, model, *options).wait() == 0
    left = finished(out)
    assert seen.items() <= left.items()
    assert sorted(left) == sorted(path.name for path in folder.iterdir())
    entries = read_entries((out / JOURNAL).read_bytes())
    assert Counter(entry.source for entry in entries) == Counter(path.name for path in folder.iterdir())
    for path in out.glob("*.png"):
        with Image.open(path) as restored:
            restored.load()
    assert not (out / PARTS).exists()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_killed_run_goes_on_where_it_was(tiny: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(20):
        photo(folder / f"{i:02}.png", (160, 120), seed=i)
    before = snapshot(folder)
    kill_at_random(folder, tmp_path / "out", tiny, 1, *options)
    assert snapshot(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_five_hundred_pictures_survive_three_kills(tiny: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(500):
        photo(folder / f"{i:03}.png", (64, 64), seed=i)
    kill_at_random(folder, tmp_path / "out", tiny, 3, *options)


def test_the_summary_is_one_json_document(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "sub" / "b.png")
    (tmp_path / "in" / "sub" / "c.png").write_text("text")
    line = ("run", tmp_path / "in", "-m", tiny, "-o", tmp_path / "out", "--recursive", "--format", "webp", "--json")
    done = command(*line)
    assert done.code == 2
    summary = json.loads(done.out)
    assert [len(summary[key]) for key in ("restored", "failed")] == [2, 1]
    assert (tmp_path / "out" / "sub" / "b.webp").is_file()
    assert "sub/c.png" in done.err
    again = json.loads(command(*line).out)
    assert (again["done_before"], again["restored"], len(again["failed"])) == (2, [], 1)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--recursive"], "--recursive"),
        (["--pattern", "*"], "--pattern"),
        (["--skip-existing"], "--skip-existing"),
        (["--workers", "2"], "--workers"),
        (["--json"], "--json"),
        (["--format", "gif"], "gif"),
        (["--jpeg-quality", "101"], "101"),
        (["--jpeg-quality", "0"], "0"),
    ],
)
def test_options_that_do_not_fit_a_picture_are_refused(
    command: Command, tiny: Path, picture: Path, options: list[str], word: str
) -> None:
    command("run", picture, "-m", tiny, *options).refused(2, word)
    assert [path.name for path in picture.parent.iterdir()] == ["a.png"]


def test_format_and_quality_reach_a_single_picture(command: Command, tiny: Path, picture: Path) -> None:
    sizes = []
    for quality in ("10", "95"):
        assert command("run", picture, "-m", tiny, "--format", "jpeg", "--jpeg-quality", quality).code == 0
        sizes.append(picture.with_name("a_restored.jpg").stat().st_size)
    assert sizes[0] < sizes[1]


def test_an_output_that_cannot_be_used_is_refused(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("")
    command("run", tmp_path / "in", "-m", tiny, "-o", tmp_path / "file").refused(2, "cannot be made")
    command("run", tmp_path / "in", "-m", tiny, "-o", tmp_path / "in").refused(2, "folder of the inputs")
    command("run", tmp_path / "in", "-m", tiny, "-o", tmp_path / "out", "--pattern", "*.gif").refused(2, "*.gif")
    assert not (tmp_path / "out").exists()
