"""`nafdeploy degrade`: what it writes and says, and every request that it must refuse."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Command, photo, plain_environment, snapshot


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    folder.mkdir()
    for i in range(4):
        photo(folder / f"{i}.png", seed=i)
    return folder


@pytest.mark.parametrize("kind", ["blur", "motion", "noise", "jpeg", "scale", "combined"])
def test_every_type_degrades_a_folder_and_says_so_on_stderr(command: Command, clean: Path, kind: str) -> None:
    before = snapshot(clean)
    out = clean.parent / "out"
    done = command("degrade", clean, "-o", out, "--type", kind)
    assert (done.code, done.out, done.err) == (0, "", f"{clean} -> {out}: 4 degraded, 0 failed\n")
    assert sorted(snapshot(out)) == [f"{i}.png" for i in range(4)]
    assert snapshot(clean) == before


def test_pairs_are_laid_out_for_training(spawn: Command, clean: Path) -> None:
    out = clean.parent / "data"
    line = ["degrade", clean, "-o", out, "--type", "noise", "--sigma", "10", "20", "--create-paired"]
    done = spawn(*line, "--val-share", "0.25", "--versions", "2", "--seed", "1", "--format", "jpg")
    assert (done.code, done.out) == (0, "")
    files = sorted(snapshot(out))
    trained, validated = (sum(name.startswith(f"{side}/degraded") for name in files) for side in ("train", "val"))
    assert done.err == f"{clean} -> {out}: {trained} pairs for training, {validated} for validation, 0 failed\n"
    assert trained + validated == 8
    assert min(trained, validated) >= 2
    for side in ("train", "val"):
        degraded = {p.stem for p in (out / side / "degraded").glob("*.jpg")}
        assert degraded == {p.stem for p in (out / side / "clean").glob("*.png")} != set()


def test_bad_pictures_among_good_ones_are_listed_at_the_end(command: Command, clean: Path) -> None:
    (clean / "1.png").write_text("no picture")
    (clean / "2.png").write_bytes((clean / "2.png").read_bytes()[:-40])
    out = clean.parent / "out"
    done = command("degrade", clean, "-o", out, "--type", "jpeg", "--create-paired", "--val-share", "0")
    assert (done.code, done.out) == (2, "")
    first, *rest = done.err.splitlines()
    assert first.endswith("2 pairs for training, 0 for validation, 2 failed")
    assert [line.split(":")[0].strip() for line in rest] == ["1.png", "2.png"]
    assert "not a picture" in rest[0]
    assert "damaged" in rest[1]
    assert sorted(snapshot(out)) == [f"train/{k}/{n}.png" for k in ("clean", "degraded") for n in (0, 3)]


def test_a_format_that_cannot_hold_a_picture_leaves_it_out(command: Command, clean: Path) -> None:
    from PIL import Image

    Image.new("RGBA", (20, 10), (1, 2, 3, 4)).save(clean / "0.png")
    done = command("degrade", clean, "-o", clean.parent / "out", "--type", "blur", "--format", "jpg")
    assert done.code == 2
    assert "3 degraded, 1 failed" in done.err
    assert "cannot hold the transparency of 0.png" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--type", "blurr"], ["'blurr'", "Did you mean 'blur'"]),
        ([], ["--type", "--help"]),
        (["--type", "noise", "--sigma", "20", "5"], ["sigma", "20.0, 5.0"]),
        (["--type", "noise", "--sigma", "5"], ["--sigma", "2 arguments"]),
        (["--type", "noise", "--sigma", "0", "inf"], ["sigma", "1000"]),
        (["--type", "noise", "--quality", "30", "40"], ["--quality does nothing for --type noise", "--sigma"]),
        (["--type", "jpeg", "--quality", "0", "200"], ["quality", "95"]),
        (["--type", "scale", "--scale", "0.5", "2"], ["scale"]),
        (["--type", "motion", "--motion", "0", "5"], ["motion"]),
        (["--type", "noise", "--versions", "0"], ["--versions 0", "1 or more"]),
        (["--type", "noise", "--create-paired", "--val-share", "1"], ["--val-share 1.0", "less than 1"]),
        (["--type", "noise", "--val-share", "0.2"], ["--val-share", "--create-paired"]),
        (["--type", "noise", "--format", "gif"], ["--format gif", "png"]),
    ],
)
def test_impossible_options_are_refused(command: Command, clean: Path, options: list[str], words: list[str]) -> None:
    before = snapshot(clean.parent)
    command("degrade", clean, "-o", clean.parent / "out", *options).refused(2, *words)
    assert snapshot(clean.parent) == before
    assert not (clean.parent / "out").exists()


def test_inputs_are_never_written_among(command: Command, clean: Path) -> None:
    nested = clean / "train" / "clean"
    nested.mkdir(parents=True)
    photo(nested / "a.png")
    (clean.parent / "link").symlink_to(clean)
    before = snapshot(clean.parent)
    for out in (clean, clean.parent / "link"):
        command("degrade", clean, "-o", out, "--type", "jpeg", "--overwrite").refused(2, "folder of the inputs", "-o")
    line = ["degrade", clean, "--type", "jpeg", "--recursive"]
    command(*line, "-o", clean / "out").refused(2, "lies inside the folder of the inputs", "-o")
    command("degrade", nested, "-o", clean, "--type", "jpeg", "--create-paired").refused(
        2, "folder of the inputs", "-o"
    )
    assert snapshot(clean.parent) == before


def test_files_that_exist_are_replaced_only_when_asked(command: Command, clean: Path) -> None:
    out = clean.parent / "out"
    assert command("degrade", clean, "-o", out, "--type", "noise").code == 0
    before = snapshot(out)
    line = ["degrade", clean, "-o", out, "--type", "noise", "--seed", "1"]
    command(*line).refused(2, "4 files exist", "0.png", "--overwrite")
    assert snapshot(out) == before
    assert command(*line, "--overwrite").code == 0
    assert all(content != before[name] for name, content in snapshot(out).items())


@pytest.mark.parametrize(
    ("source", "out", "words"),
    [
        ("nowhere", "out", ["nowhere is not a folder"]),
        ("clean/0.png", "out", ["0.png is not a folder"]),
        ("empty", "out", ["empty holds no pictures", ".png"]),
        ("clean", "clean/0.png", ["0.png cannot be made", "-o"]),
        ("clean", "clean/0.png/out", ["cannot be made", "-o"]),
    ],
)
def test_folders_that_cannot_be_used_are_one_line(
    command: Command, clean: Path, source: str, out: str, words: list[str]
) -> None:
    (clean.parent / "empty").mkdir()
    before = snapshot(clean.parent)
    command("degrade", clean.parent / source, "-o", clean.parent / out, "--type", "blur").refused(2, *words)
    assert snapshot(clean.parent) == before
    assert not (clean.parent / "out").exists()


@pytest.mark.parametrize("pairs", [[], ["--create-paired"]])
def test_a_disk_that_takes_no_more_ends_it_with_one_line(clean: Path, pairs: list[str]) -> None:
    photo(clean / "2.png", (400, 300))
    out = clean.parent / "out"
    done = subprocess.run(
        [*COMMAND, "degrade", str(clean), "-o", str(out), "--type", "noise", *pairs],
        capture_output=True,
        text=True,
        env=plain_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "2.png cannot be written: File too large." in done.stderr
    written = sorted({Path(name).name for name in snapshot(out)})
    assert written == ["0.png", "1.png"], "pictures before it are whole, nothing of it and none after it is there"


def test_ctrl_c_leaves_whole_pairs_only(clean: Path) -> None:
    content = photo(clean / "0.png", (200, 160)).read_bytes()
    for i in range(300):
        (clean / f"{i:03}.png").write_bytes(content)
    out = clean.parent / "out"
    process = subprocess.Popen(
        [*COMMAND, "degrade", str(clean), "-o", str(out), "--type", "combined", "--create-paired", "--versions", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(list(out.glob("train/degraded/[!.]*.png"))) < 4:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, ""), stderr
    assert len(stderr.splitlines()) == 1
    files = sorted(snapshot(out))
    assert 4 <= len(files) < 1200
    for side in ("train", "val"):
        degraded, kept = ({p.name for p in (out / side / kind).iterdir()} for kind in ("degraded", "clean"))
        assert degraded == kept
        assert not [name for name in degraded if name.startswith(".")]


def test_the_help_tells_the_ranges_that_hold_when_none_is_given(command: Command) -> None:
    from nafnet_deploy.data.degradations import Degradation

    text = " ".join(command("degrade", "--help").out.replace("│", " ").split())
    for name in ("sigma", "blur_sigma", "motion", "quality", "scale"):
        low, high = getattr(Degradation(), name)
        (explained,) = re.findall(rf"--{name.replace('_', '-')} LOW HIGH .*?\(default: ([\d. ]+)\)", text)
        assert explained == f"{low:g} {high:g}"
