"""`nafdeploy eval`: noise or pairs, one table or JSON, and one line for what cannot be evaluated."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from tests.bundles import write_bundle, write_enlarging_bundle
from tests.cli.conftest import Command, photo, snapshot


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five degraded pictures and the clean ones they came from."""
    degraded, clean = tmp_path / "degraded", tmp_path / "clean"
    for folder in (degraded, clean):
        folder.mkdir()
    for i in range(5):
        with Image.open(photo(clean / f"{i}.png", (24, 20), i)) as picture:
            picture.filter(ImageFilter.BoxBlur(2)).save(degraded / f"{i}.bmp")
    return degraded, clean


def test_noise_gives_a_table_that_starts_with_the_input(
    command: Command, tiny: Path, folders: tuple[Path, Path]
) -> None:
    before = snapshot(folders[1])
    done = command("eval", tiny, "--clean", folders[1])
    assert (done.code, done.out) == (0, "")
    words = [line.split()[1:4] for line in done.err.splitlines() if line.startswith("│")]
    assert [w[0] for w in words] == ["input", "N", "N", "N"]
    assert "sigma 25" in done.err
    assert "onnxruntime cpu" in done.err
    assert snapshot(folders[1]) == before


def test_pairs_give_json_with_every_picture(command: Command, tiny: Path, folders: tuple[Path, Path]) -> None:
    degraded, clean = folders
    done = command("eval", tiny, "--degraded", degraded, "--clean", clean, "--iters", "2", "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert (report["schema"], report["iterations"], report["sigma"]) == (2, [1, 2], None)
    assert (report["degraded"], report["engine"]) == ("degraded", "onnxruntime cpu")
    assert [p["name"] for p in report["pictures"]] == [f"{i}.bmp" for i in range(5)]
    assert all(set(p["input"]) == {"psnr", "ssim", "psnr_y", "ssim_y"} for p in report["pictures"])
    assert str(clean.parent) not in done.out


def test_pictures_adds_a_row_for_each(command: Command, tiny: Path, folders: tuple[Path, Path]) -> None:
    (folders[1] / "[red]odd.png").write_bytes((folders[1] / "0.png").read_bytes())
    done = command("eval", tiny, "--clean", folders[1], "--pictures")
    assert done.code == 0
    for name in ("0.png", "4.png", "[red]odd.png"):
        assert name in done.err


def test_a_corrupt_picture_is_counted_and_named_at_the_end(
    command: Command, tiny: Path, folders: tuple[Path, Path]
) -> None:
    degraded, clean = folders
    (degraded / "3.bmp").write_text("no picture")
    done = command("eval", tiny, "--degraded", degraded, "--clean", clean)
    assert (done.code, done.out) == (2, "")
    assert "4 evaluated, 1 skipped" in done.err
    assert done.err.splitlines()[-1].startswith("  3.bmp: ")
    done = command("eval", tiny, "--degraded", degraded, "--clean", clean, "--json")
    assert done.code == 2
    assert [p["name"] for p in json.loads(done.out)["skipped"]] == ["3.bmp"]


def test_pictures_without_a_partner_are_named_and_counted(
    command: Command, tiny: Path, folders: tuple[Path, Path]
) -> None:
    degraded, clean = folders
    for i in range(4):
        (clean / f"{i}.png").unlink()
    photo(clean / "extra.png")
    line = command("eval", tiny, "--degraded", degraded, "--clean", clean)
    line.refused(2, "5 pictures have no partner", "0 (not in", "1 (not in", "2 (not in", "and 2 more", "same name")


def test_pairs_of_different_sizes_are_named_and_counted(
    command: Command, tiny: Path, folders: tuple[Path, Path]
) -> None:
    degraded, clean = folders
    for i in range(4):
        photo(clean / f"{i}.png", (25, 20))
    line = command("eval", tiny, "--degraded", degraded, "--clean", clean)
    line.refused(2, "4 of 5 pairs differ in size", "0.bmp (24x20 and 25x20)", "2.bmp", "and 1 more")


def test_two_pictures_with_one_stem_are_refused(command: Command, tiny: Path, folders: tuple[Path, Path]) -> None:
    degraded, clean = folders
    photo(clean / "1.tif")
    command("eval", tiny, "--degraded", degraded, "--clean", clean).refused(2, "share their stem", "1.png", "one file")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--sigma", "-1"], 2, ["--sigma -1", "0 or more"]),
        (["--sigma", "nan"], 2, ["--sigma nan"]),
        (["--sigma", "5", "--degraded", "DEGRADED"], 2, ["one of --degraded and --sigma"]),
        (["--degraded", "nowhere"], 2, ["nowhere is not a folder"]),
        (["--iters", "0"], 2, ["--iters 0", "1 or more"]),
        (["--iters", "4"], 6, ["4 iterations", "has 3"]),
        (["--threads", "0"], 2, ["--threads 0"]),
        (["--seed", "-1"], 2, ["--seed -1"]),
        (["--seed", "1", "--degraded", "DEGRADED"], 2, ["--seed 1", "Leave --seed out"]),
        (["--engine", "tensort"], 2, ["'tensorrt'"]),
        (["--engine", "onnxruntime", "--trust-engine"], 2, ["path"]),
        (["--engine", "nowhere.engine"], 2, ["does not exist"]),
    ],
)
def test_impossible_options_are_refused(
    command: Command, tiny: Path, folders: tuple[Path, Path], options: list[str], code: int, words: list[str]
) -> None:
    options = [str(folders[0]) if option == "DEGRADED" else option for option in options]
    command("eval", tiny, "--clean", folders[1], *options).refused(code, *words)


def quality(line: str) -> float:
    """PSNR in a row of the table."""
    return float(line.split("│")[2])


def test_a_network_that_enlarges_is_given_shrunk_pictures(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    for i in range(2):
        photo(tmp_path / "clean" / f"{i}.png", (63, 45), i)
    write_enlarging_bundle(tmp_path / "x2.onnx", 2)
    done = command("eval", tmp_path / "x2.onnx", "--clean", tmp_path / "clean", "--engine", "onnxruntime")
    assert done.code == 0
    assert "2 pictures, shrunk" in done.err
    bicubic, repeated = (quality(line) for line in done.err.splitlines() if line.startswith(("│ input", "│ N = 1")))
    assert bicubic > repeated + 0.1, "repeating pixels is worse than bicubic enlargement, which the input row shows"


def test_one_equal_picture_makes_the_mean_infinite_and_is_counted(command: Command, tmp_path: Path) -> None:
    for folder in ("degraded", "clean"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        photo(tmp_path / "clean" / f"{i}.png", (24, 20), i)
        photo(tmp_path / "degraded" / f"{i}.png", (24, 20), i if i == 1 else i + 9)
    write_bundle(tmp_path / "identity.onnx")
    folders = ("--degraded", tmp_path / "degraded", "--clean", tmp_path / "clean")
    done = command("eval", tmp_path / "identity.onnx", *folders)
    rows = [line for line in done.err.splitlines() if line.startswith(("│ input", "│ N = 1"))]
    assert [quality(row) for row in rows] == [math.inf, math.inf]
    assert "pictures equal to the clean ones, 1 of 3 at input, 1 of 3 at N = 1" in " ".join(done.err.split())
    pictures = json.loads(command("eval", tmp_path / "identity.onnx", *folders, "--json").out)["pictures"]
    assert [picture["input"]["psnr"] is None for picture in pictures] == [False, True, False]


def test_small_and_large_pictures_are_pairs_for_a_network_that_enlarges(command: Command, tmp_path: Path) -> None:
    for folder in ("lr", "hr"):
        (tmp_path / folder).mkdir()
    with Image.open(photo(tmp_path / "lr" / "0001x3.png", (20, 16), 0)) as picture:
        picture.resize((60, 48), Image.Resampling.NEAREST).save(tmp_path / "hr" / "0001.png")
    write_enlarging_bundle(tmp_path / "x3.onnx", 3)
    folders = ("--degraded", tmp_path / "lr", "--clean", tmp_path / "hr")
    report = json.loads(command("eval", tmp_path / "x3.onnx", *folders, "--json").out)
    assert report["pictures"][0]["restored"][0]["psnr"] is None, "equal: the pixels were repeated"
    assert report["pictures"][0]["input"]["psnr"] < 60
    photo(tmp_path / "lr" / "0001.png", (20, 16), 1)
    command("eval", tmp_path / "x3.onnx", *folders).refused(2, "share their stem", "0001", "one file")
    (tmp_path / "lr" / "0001.png").unlink()
    Image.new("RGB", (61, 48)).save(tmp_path / "hr" / "0001.png")
    refused = command("eval", tmp_path / "x3.onnx", *folders)
    assert refused.code == 2
    assert "Clean ones must be 3 times as high and wide" in refused.err


def test_views_of_a_pair_are_scored_together(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    photo(tmp_path / "clean" / "a_L.png", (64, 48), 0)
    write_enlarging_bundle(tmp_path / "stereo.onnx", 4, views=2)
    refused = command("eval", tmp_path / "stereo.onnx", "--clean", tmp_path / "clean")
    assert refused.code == 2
    assert "no view of a stereo pair: a_L" in refused.err
    photo(tmp_path / "clean" / "a_R.png", (64, 48), 1)
    report = json.loads(command("eval", tmp_path / "stereo.onnx", "--clean", tmp_path / "clean", "--json").out)
    assert [p["name"] for p in report["pictures"]] == ["a_L.png"]
    write_enlarging_bundle(tmp_path / "x4.onnx", 4)
    single = json.loads(command("eval", tmp_path / "x4.onnx", "--clean", tmp_path / "clean", "--json").out)["pictures"]
    mean = sum(p["restored"][0]["psnr"] for p in single) / 2
    assert report["pictures"][0]["restored"][0]["psnr"] == pytest.approx(mean)


def test_noise_is_not_for_a_network_that_enlarges(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    photo(tmp_path / "clean" / "a.png", (64, 48), 0)
    write_enlarging_bundle(tmp_path / "x2.onnx", 2)
    done = command("eval", tmp_path / "x2.onnx", "--clean", tmp_path / "clean", "--sigma", "25")
    assert done.code == 2
    assert "Leave --sigma out" in done.err
