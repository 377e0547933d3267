"""`nafdeploy run` and `calibrate` with split bundles."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.export.recipe import ExportRecipe
from tests.cli.conftest import Command, photo, snapshot
from tests.exports import quick_export
from tests.tiny import RR
from tests.weights import seeded, stir


@pytest.fixture
def split(tiny_split: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that may be calibrated."""
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_split.parent, folder)
    return folder / tiny_split.name


def test_export_writes_a_bundle_that_runs(command: Command, tiny: Path, picture: Path, tmp_path: Path) -> None:
    checkpoint = tiny.with_suffix(".safetensors")
    done = command("export", checkpoint, "--mode", "split", "--iters", "2", "-o", tmp_path / "out")
    assert done.code == 0
    manifest = tmp_path / "out" / "tiny-split-dynamic-fp32.json"
    assert str(manifest) in done.err
    assert "over N = 1 to 2" in done.err
    done = command("run", picture, "-m", manifest, "--iters", "4")
    assert (done.code, done.out) == (0, "")
    assert "engine: onnxruntime cpu, N = 4; the last iteration changed the picture by" in done.err


def test_the_same_picture_as_the_unrolled_graph(command: Command, tiny: Path, split: Path, picture: Path) -> None:
    for name, model in (("whole.png", tiny), ("parts.png", split)):
        assert command("run", picture, "-m", model, "--iters", "3", "-o", picture.with_name(name)).code == 0
    images = [np.asarray(Image.open(picture.with_name(name)), int) for name in ("whole.png", "parts.png")]
    assert abs(images[0] - images[1]).max() <= 1


def test_tiles_stop_alone_and_are_counted(command: Command, split: Path, picture: Path) -> None:
    done = command("run", picture, "-m", split, "--tile", "16", "--overlap", "4", "--until-delta", "1e-9")
    assert done.code == 0
    assert "runs; the last iteration changed the picture by" in done.err
    assert "more than the 1e-09 asked for: raise --max-iters" in done.err


@pytest.mark.parametrize("tiling", [[], ["--tile", "16", "--overlap", "4"]])
def test_progressive_writes_the_picture_of_every_iteration(
    command: Command, split: Path, picture: Path, tiling: list[str]
) -> None:
    done = command("run", picture, "-m", split, "--progressive", "--iters", "3", *tiling)
    assert (done.code, done.out) == (0, "")
    assert len(done.err.splitlines()) == 3
    for n in (1, 2, 3):
        target = picture.with_name(f"fixed{n}.png")
        command("run", picture, "-m", split, "--iters", str(n), "-o", target, *tiling)
        stage = picture.with_name(f"a_restored_n{n}.png")
        assert (np.asarray(Image.open(stage)) == np.asarray(Image.open(target))).all()


def test_a_folder_says_how_many_iterations_ran(command: Command, split: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        photo(folder / f"{i}.png", seed=i)
    done = command("run", folder, "-m", split, "--until-delta", "10")
    assert done.code == 0
    assert "N = 1, mean 1.0 over 2 runs" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--iters", "2", "--until-delta", "1e-3"], ["--max-iters"]),
        (["--iters", "2", "--budget-ms", "5"], ["--max-iters"]),
        (["--until-delta", "0"], ["--until-delta 0"]),
        (["--until-delta", "nan"], ["positive number"]),
        (["--budget-ms", "-1"], ["--budget-ms -1"]),
        (["--budget-ms", "1e-6"], ["below what one iteration of this picture takes", "--best-effort"]),
        (["--best-effort"], ["--budget-ms"]),
        (["--quality", "fast"], ["has not been calibrated", "nafdeploy calibrate"]),
        (["--quality", "quick"], ["--quality quick is unknown"]),
        (["--quality", "fast", "--until-delta", "1"], ["Leave one out"]),
        (["--max-iters", "0"], ["--max-iters 0"]),
        (["--engine", "x.step.engine", "--trust-engine"], ["always checked", "Leave --trust-engine out"]),
    ],
)
def test_impossible_wishes_are_named_and_nothing_is_written(
    command: Command, split: Path, picture: Path, options: list[str], words: list[str]
) -> None:
    before = snapshot(picture.parent)
    command("run", picture, "-m", split, *options).refused(2, *words)
    assert snapshot(picture.parent) == before


@pytest.mark.parametrize(
    "option",
    [["--until-delta", "1"], ["--budget-ms", "9"], ["--progressive"], ["--max-iters", "2"], ["--quality", "fast"]],
)
def test_an_unrolled_bundle_names_the_command_that_makes_steps(
    command: Command, tiny: Path, picture: Path, option: list[str]
) -> None:
    command("run", picture, "-m", tiny, *option).refused(6, "no step graph", "nafdeploy export CHECKPOINT --mode split")


def test_best_effort_runs_one_iteration(command: Command, split: Path, picture: Path) -> None:
    done = command("run", picture, "-m", split, "--budget-ms", "1e-6", "--best-effort")
    assert done.code == 0
    assert "N = 1;" in done.err


def test_plans_of_the_parts_are_built_without_a_gpu_and_need_one_to_run(
    command: Command, split: Path, picture: Path, tmp_path: Path
) -> None:
    options = ("--gpu", "sm86", "--max-shape", "64x64", "-o", tmp_path / "plans")
    done = command("build", split, *options)
    assert done.code == 0
    assert "MB of plans for any number of iterations built in" in done.err
    stem = "tiny-split-dynamic-fp32.sm86.tensorrt-rtx"
    names = sorted(path.name for path in (tmp_path / "plans").iterdir())
    assert names == [f"{stem}.head.engine", f"{stem}.json", f"{stem}.step.engine", f"{stem}.tail.engine"]
    assert "were there already" in command("build", split, *options).err
    command("build", split, *options, "--iters", "3").refused(2, "any number of iterations", "Leave --iters out")
    before = snapshot(picture.parent)
    for engine in ("tensorrt-rtx", tmp_path / "plans" / f"{stem}.step.engine"):
        command("run", picture, "-m", split, "--engine", engine).refused(3, "no NVIDIA GPU can be used here")
    assert snapshot(picture.parent) == before
    assert command("run", picture, "-m", split).code == 0  # auto takes what works here


def test_a_dry_build_of_a_split_bundle_says_what_it_would_do(command: Command, split: Path, tmp_path: Path) -> None:
    done = command("build", split, "--gpu", "sm86", "-o", tmp_path / "plans", "--dry-run")
    assert done.code == 0
    assert "head, step and tail" in done.err
    assert not (tmp_path / "plans").exists()


def test_parity_proves_a_split_bundle(command: Command, split: Path) -> None:
    assert command("parity", split).code == 0


def test_inspect_knows_a_split_bundle(command: Command, split: Path) -> None:
    facts = json.loads(command("inspect", split).out)
    assert facts["kind"] == "bundle"
    assert facts["graph_matches_manifest"]
    assert sorted(facts["manifest"]["parts"]) == ["head", "step", "tail"]


def test_calibration_makes_quality_work_and_draws_the_curve(
    command: Command, split: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    for i in range(4):
        photo(folder / f"{i}.png", seed=i)
    done = command("calibrate", folder, "-m", split, "--sigma", "5", "50", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["against"] == "clean"
    assert [p["iterations"] for p in found["points"] if p["rule"] == "fixed"] == [1, 2, 3, 4, 5]
    with Image.open(split.with_name("split.calibration.png")) as drawn:
        assert min(drawn.size) > 400
    assert json.loads(split.read_text())["stopping"]["source"] == "4 pictures of clean"
    costs = {}
    for quality in ("fast", "balanced", "best"):
        done = command("run", picture, "-m", split, "--quality", quality)
        assert done.code == 0
        costs[quality] = int(done.err.split("N = ")[1][0])
    assert costs["fast"] <= costs["balanced"] <= costs["best"] == 5


@pytest.mark.parametrize("most", [3, 8])
def test_quality_best_runs_as_many_iterations_as_the_calibration_printed(
    command: Command, split: Path, picture: Path, most: int
) -> None:
    done = command("calibrate", picture.parent, "-m", split, "--max-iters", str(most))
    assert done.code == 0, done.err
    row = next(line for line in done.err.splitlines() if "--quality best" in line)
    assert row.split("│")[2].strip() == f"{most}.00"
    assert f"N = {most};" in command("run", picture, "-m", split, "--quality", "best").err
    assert "N = 2;" in command("run", picture, "-m", split, "--quality", "best", "--max-iters", "2").err
    assert "N = 5;" in command("run", picture, "-m", split, "--until-delta", "1e-9").err


def test_a_network_that_enlarges_is_exported_in_steps_calibrated_and_stops_by_itself(
    command: Command, tmp_path: Path
) -> None:
    config = dataclasses.replace(RR, scale=2)
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "x2", "", {"source": "tests"})
    bundle = quick_export(checkpoint, ExportRecipe(mode="split", output=str(tmp_path / "x2.onnx")), proof=True)
    assert bundle.manifest.stopping is not None
    assert bundle.manifest.stopping.picture_per_state > 0
    found = []
    small, large = photo(tmp_path / "small.png", (21, 19)), photo(tmp_path / "large.png", (42, 38))
    for kind, crop in (("whole", 0), ("middle", 1)):  # 16 of 21 and of 19 pixels begin at 2 and at 1
        for name, source, scale in (("lr", small, 1), ("hr", large, 2)):
            (tmp_path / kind / name).mkdir(parents=True)
            box = tuple(scale * edge for edge in ((2, 1, 18, 17) if crop else (0, 0, 21, 19)))
            Image.open(source).crop(box).save(tmp_path / kind / name / "a.png")  # type: ignore[arg-type]
        folders = (tmp_path / kind / "lr", "--clean", tmp_path / kind / "hr")
        done = command("calibrate", *folders, "-m", bundle.part("step"), "--imgsz", "16", "--json")
        assert done.code == 0, done.err
        found.append([p["psnr"] for p in json.loads(done.out)["points"] if p["rule"] == "fixed"])
    assert len(found[0]) == 5
    assert found[0] == found[1]
    done = command("run", small, "-m", bundle.part("step"), "--until-delta", "10", "-o", tmp_path / "out.png")
    assert done.code == 0, done.err
    assert "N = 1;" in done.err
    with Image.open(tmp_path / "out.png") as enlarged:
        assert enlarged.size == (42, 38)
    noise = command("calibrate", tmp_path / "whole" / "lr", "-m", bundle.part("step"), "--sigma", "5", "50")
    noise.refused(2, "enlarges pictures", "Leave --sigma out")


def test_a_picture_that_cannot_be_read_is_named_by_calibrate(command: Command, split: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    photo(folder / "a.png")
    (folder / "bad.png").write_text("text")
    done = command("calibrate", folder, "-m", split, "--sigma", "5", "50", "--json", "--threads", "1")
    assert done.code == 2
    assert "bad.png" in done.err
    found = json.loads(done.out)
    assert (found["pictures"], found["environment"]["threads"]) == (1, 1)
    assert json.loads(split.read_text())["stopping"]["source"] == "1 pictures of clean"


def test_a_dry_calibration_changes_nothing(command: Command, split: Path, picture: Path) -> None:
    before = snapshot(split.parent)
    done = command("calibrate", picture.parent, "-m", split, "--dry-run")
    assert done.code == 0
    assert "all iterations" in done.err
    assert snapshot(split.parent) == before


def test_calibration_refuses_what_it_cannot_use(command: Command, tiny: Path, split: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command("calibrate", empty, "-m", split).refused(2, "empty")
    photo(empty / "a.png")
    command("calibrate", empty, "-m", tiny).refused(6, "no step graph")
    command("calibrate", empty, "-m", split, "--sigma", "50", "5").refused(2, "--sigma 50 5")
    command("calibrate", empty, "-m", split, "--max-iters", "1").refused(2, "--max-iters 2")
