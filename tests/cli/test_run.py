"""`nafdeploy run` where all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.cli.conftest import Command, photo, snapshot


def test_a_picture_is_restored_beside_itself_and_stdout_stays_empty(spawn: Command, tiny: Path, picture: Path) -> None:
    before = picture.read_bytes()
    done = spawn("run", picture, "--model", tiny)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{picture} -> {picture.with_name('a_restored.png')}\nengine: openvino cpu fp32, N = 3\n"
    assert picture.read_bytes() == before
    with Image.open(picture.with_name("a_restored.png")) as restored:
        assert (restored.size, restored.mode) == ((48, 40), "RGB")


def test_iterations_and_tiles_reach_the_network(command: Command, tiny: Path, picture: Path) -> None:
    results = {}
    for name, options in {
        "three": [],
        "asked": ["--iters", "3"],
        "one": ["--iters", "1"],
        "tiled": ["--tile", "16", "--overlap", "4"],
    }.items():
        target = picture.with_name(f"{name}.png")
        assert command("run", picture, "-m", tiny, "-o", target, *options).code == 0
        results[name] = np.asarray(Image.open(target))
    assert (results["three"] == results["asked"]).all()
    assert (results["three"] != results["one"]).any()
    assert (results["three"] != results["tiled"]).any()


def test_an_output_folder_takes_the_default_name(command: Command, tiny: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert command("run", picture, "-m", tiny, "-o", tmp_path / "out").code == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a_restored.png"]


def test_a_folder_is_restored_and_counted(command: Command, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        photo(folder / f"{i}.jpg", seed=i)
    before = snapshot(folder)
    done = command("run", folder, "-m", tiny)
    assert (done.code, done.out) == (0, "")
    assert "3 restored, 0 failed" in done.err
    assert sorted(p.name for p in (tmp_path / "in_restored").glob("[!.]*")) == ["0.jpg", "1.jpg", "2.jpg"]
    assert snapshot(folder) == before


def test_a_bad_picture_in_a_folder_is_named_and_the_others_are_restored(
    command: Command, tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "a.png")
    (folder / "b.png").write_text("no picture")
    photo(folder / "c.png")
    done = command("run", folder, "-m", tiny, "-o", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "2 restored, 1 failed" in done.err
    assert "b.png" in done.err
    assert "Traceback" not in done.err
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == ["a.png", "c.png"]
