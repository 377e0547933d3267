"""Options of `nafdeploy run` that contradict each other or the input are refused, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.bundles import write_enlarging_bundle
from tests.cli.conftest import Command, photo, snapshot


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """A bundle that takes two views and enlarges them."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_enlarging_bundle(folder / "stereo.onnx", 2, views=2)
    return folder / "stereo.onnx"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--video-codec", "h264"], "--video-codec"),
        (["--crf", "18"], "--crf"),
        (["-o", "a.png", "--format", "jpg"], "--format jpg"),
        (["--workers", "2"], "--workers"),
        (["--progressive", "--until-delta", "0.1"], "--until-delta"),
        (["--progressive", "--budget-ms", "100"], "--budget-ms"),
        (["--progressive", "--quality", "fast"], "--quality"),
        (["--progressive", "--ensemble"], "--ensemble"),
        (["--progressive", "--memory", "1GB"], "--memory"),
        (["-o", ""], "empty"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    command: Command, tiny_split: Path, picture: Path, options: list[str], word: str
) -> None:
    before = snapshot(picture.parent)
    command("run", picture, "-m", tiny_split, *options).refused(2, word)
    assert snapshot(picture.parent) == before


def test_an_empty_path_is_not_the_current_folder(command: Command, tiny: Path) -> None:
    command("run", "", "-m", tiny).refused(2, "one of the arguments is empty")


def test_stages_are_written_at_the_quality_asked_for(command: Command, tiny_split: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.jpg")
    sizes = []
    for quality in (5, 95):
        assert command("run", source, "-m", tiny_split, "--progressive", "--jpeg-quality", str(quality)).code == 0
        sizes.append((tmp_path / "a_restored_n2.jpg").stat().st_size)
    assert sizes[0] < sizes[1] / 2


def test_a_pair_is_written_in_the_format_and_quality_asked_for(command: Command, stereo: Path, tmp_path: Path) -> None:
    left, right = photo(tmp_path / "l.png"), photo(tmp_path / "r.png")
    options = ("-m", stereo, "--engine", "onnxruntime", "--format", "jpg", "--jpeg-quality", "5")
    assert command("run", left, right, *options).code == 0
    with Image.open(tmp_path / "l_restored.jpg") as image:
        assert image.format == "JPEG"
    assert not (tmp_path / "l_restored.png").exists()


def test_no_view_of_a_pair_is_overwritten(command: Command, stereo: Path, tmp_path: Path) -> None:
    left, right = photo(tmp_path / "l.png"), photo(tmp_path / "l_restored.png")
    before = snapshot(tmp_path)
    command("run", left, right, "-m", stereo).refused(2, "l_restored.png", "never overwritten")
    assert snapshot(tmp_path) == before


def test_folders_are_no_pair(command: Command, stereo: Path, tmp_path: Path) -> None:
    for side in "LR":
        (tmp_path / side).mkdir()
        photo(tmp_path / side / "a.png")
    command("run", tmp_path / "L", tmp_path / "R", "-m", stereo).refused(2, "two pictures")
