"""`nafdeploy compare`: one picture beside the input, or one line and nothing written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import bundle_file
from nafnet_deploy.models.registry import build
from tests.bundles import manifest_of, write_identity_graph
from tests.cli.conftest import Command, photo, snapshot
from tests.exports import quick_export
from tests.weights import stir


def test_the_sheet_lies_beside_the_input_and_stdout_stays_empty(command: Command, tiny: Path, picture: Path) -> None:
    before = picture.read_bytes()
    done = command("compare", picture, "-m", tiny)
    assert (done.code, done.out) == (0, "")
    lines = done.err.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["N = 1", "N = 2", "N = 3"]
    assert lines[3:] == [f"{picture} -> {picture.with_name('a-compare.png')}", "engine: openvino cpu fp32"]
    assert "dB" not in done.err
    assert sorted(p.name for p in picture.parent.iterdir()) == ["a-compare.png", "a.png"]
    assert picture.read_bytes() == before
    with Image.open(picture.with_name("a-compare.png")) as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")


def height_of(path: Path) -> int:
    with Image.open(path) as sheet:
        return sheet.height


def test_noise_and_a_reference_bring_psnr(command: Command, tiny: Path, picture: Path, tmp_path: Path) -> None:
    first = command("compare", picture, "-m", tiny, "--sigma", "25", "-o", tmp_path / "s.png")
    again = command("compare", picture, "-m", tiny, "--sigma", "25", "-o", tmp_path / "t.png")
    other = command("compare", picture, "-m", tiny, "--sigma", "25", "--seed", "1", "-o", tmp_path / "u.png")
    found = [[line.split(",")[0] for line in done.err.splitlines()[:3]] for done in (first, again, other)]
    assert all("dB" in line for line in found[0])
    assert found[0] == found[1] != found[2]
    clean = photo(tmp_path / "clean.bmp", seed=1)
    done = command("compare", picture, "-m", tiny, "--clean", clean, "-o", tmp_path)
    assert done.code == 0
    assert done.err.count(" dB, ") == 3
    assert (tmp_path / "a-compare.png").is_file()


def test_fewer_iterations_make_a_narrower_sheet(command: Command, tiny: Path, picture: Path) -> None:
    sizes = []
    for n in ("1", "2"):
        target = picture.with_name(f"{n}.png")
        assert command("compare", picture, "-m", tiny, "--iters", n, "-o", target).code == 0
        sizes.append(Image.open(target).size)
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] == sizes[1][1]


def test_a_network_without_reasoning_has_one_column_and_no_gates(
    command: Command, tiny: Path, picture: Path, tmp_path: Path
) -> None:
    config = ModelConfig(architecture="nafnet", width=4, encoder_blocks=(1,), decoder_blocks=(1,))
    checkpoint = Checkpoint(stir(build(config)).state_dict(), config, "plain", "", {"source": "tests"})
    graph = quick_export(checkpoint, ExportRecipe(output=str(tmp_path / "plain.onnx"))).graph
    done = command("compare", picture, "-m", graph, "-o", tmp_path / "plain.png")
    assert (done.code, done.out) == (0, "")
    assert [line for line in done.err.splitlines() if line.startswith("N = ")][1:] == []
    assert command("compare", picture, "-m", tiny, "--iters", "1", "-o", tmp_path / "rr.png").code == 0
    assert height_of(tmp_path / "plain.png") < height_of(tmp_path / "rr.png")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_every_kind_of_picture_is_shown(command: Command, tiny: Path, tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels.astype(np.uint16)[..., 0] * 257) if mode == "I;16" else Image.fromarray(pixels)
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "a.png")
    assert command("compare", tmp_path / "a.png", "-m", tiny, "--iters", "1").code == 0


def test_a_large_picture_is_tiled_and_cropped(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nafnet_deploy.runtime.restorer.memory_budget", lambda: 2_000_000)
    source = photo(tmp_path / "large.png", (700, 500))
    done = command("compare", source, "-m", tiny, "--iters", "2", "--sigma", "20")
    assert done.code == 0
    with Image.open(tmp_path / "large-compare.png") as sheet:
        assert sheet.width < 3 * 350


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--sigma", "-1"], 2, ["--sigma -1"]),
        (["--sigma", "inf"], 2, ["--sigma inf"]),
        (["--sigma", "5", "--seed", "-1"], 2, ["--seed -1"]),
        (["--seed", "1"], 2, ["--seed 1", "Add --sigma"]),
        (["--sigma", "5", "--clean", "a.png"], 2, ["one of --clean and --sigma"]),
        (["--clean", "nowhere.png"], 2, ["nowhere.png does not exist"]),
        (["--iters", "0"], 2, ["--iters 0"]),
        (["--iters", "4"], 6, ["4 iterations", "has 3"]),
        (["--threads", "0"], 2, ["--threads 0"]),
        (["--crop", "1,2,3"], 2, ["--crop 1,2,3 is not a region", "X,Y,W,H"]),
        (["--crop", "0,0,x,4"], 2, ["is not a region"]),
        (["--crop", "40,0,9,9"], 2, ["does not lie in the picture of 48x40"]),
        (["--crop", "0,0,0,9"], 2, ["does not lie in"]),
        (["--engine", "tensort"], 2, ["'tensorrt'"]),
        (["--engine", "nowhere.engine"], 2, ["does not exist"]),
        (["-o", "nowhere/b.png"], 2, ["nowhere does not exist"]),
        (["-o", "b.gif"], 2, ["'.gif'"]),
    ],
)
def test_impossible_options_are_refused(
    command: Command,
    tiny: Path,
    picture: Path,
    options: list[str],
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(picture.parent)
    before = snapshot(picture.parent)
    command("compare", picture, "-m", tiny, *options).refused(code, *words)
    assert snapshot(picture.parent) == before


def test_neither_the_input_nor_its_reference_is_overwritten(command: Command, tiny: Path, picture: Path) -> None:
    clean = photo(picture.with_name("clean.png"))
    before = snapshot(picture.parent)
    for target in (picture, clean):
        command("compare", picture, "-m", tiny, "--clean", clean, "-o", target).refused(2, "never overwritten")
    assert snapshot(picture.parent) == before


def test_a_reference_of_another_size_and_bad_pictures_are_refused(command: Command, tiny: Path, picture: Path) -> None:
    photo(picture.with_name("clean.png"), (50, 40))
    picture.with_name("text.png").write_text("no picture")
    before = snapshot(picture.parent)
    clean = picture.with_name("clean.png")
    command("compare", picture, "-m", tiny, "--clean", clean).refused(2, "48x40", "50x40", "same size")
    command("compare", picture.with_name("text.png"), "-m", tiny).refused(2, "not a picture")
    command("compare", picture.with_name("none.png"), "-m", tiny).refused(2, "does not exist")
    command("compare", picture.parent, "-m", tiny).refused(2, "is a folder")
    assert snapshot(picture.parent) == before


def test_a_graph_that_hides_its_gates_is_shown_without_them_and_says_so(
    command: Command, picture: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "identity.onnx"
    write_identity_graph(graph)
    config = ModelConfig(
        architecture="nafnet-rr", width=4, encoder_blocks=(1,), decoder_blocks=(1,), positions=("middle",)
    )
    bundle_file(graph, ".json").write_text(dataclasses.replace(manifest_of(graph), model=config).to_json())
    done = command("compare", picture, "-m", graph)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("the gates are left out: the graph of identity has no gates")
    assert picture.with_name("a-compare.png").is_file()
