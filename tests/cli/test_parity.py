"""`nafdeploy parity`: a failed limit is exit code 5 always, and an impossible request is refused before the work."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.manifest import bundle_file, sha256_of
from tests.cli.conftest import COMMAND, Command, photo, plain_environment, snapshot
from tests.tiny import RR
from tests.weights import seeded


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle to spoil."""
    for path in tiny.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / tiny.name


def edit_manifest(graph: Path, **changes: object) -> None:
    sidecar = bundle_file(graph, ".json")
    table = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**table, **changes}))


def spoil(graph: Path, value: float) -> None:
    """Writes a value into the first convolution and makes the manifest agree."""
    model = onnx.load(graph)
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    stored = next(w for w in model.graph.initializer if w.name == name)
    weight = numpy_helper.to_array(stored).copy()
    weight[0, 0, 0, 0] = value
    stored.CopyFrom(numpy_helper.from_array(weight, stored.name))
    onnx.save(model, graph)
    hashes = json.loads(bundle_file(graph, ".json").read_text())["sha256"]
    edit_manifest(graph, sha256={**hashes, ".onnx": sha256_of(graph)})


def test_a_sound_bundle_passes_and_writes_every_report(command: Command, tiny: Path, tmp_path: Path) -> None:
    done = command(
        "parity", tiny, "--json", "--junit", tmp_path / "p.xml", "--html", tmp_path / "p.html", "--error-stat", "p99"
    )
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["passed"]
    assert report["links"][0]["limits"]["stat"] == "p99"
    jsonschema.validate(report, json.loads(command("parity", "--schema").out))
    assert ET.parse(tmp_path / "p.xml").getroot().get("failures") == "0"
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.html", "p.xml"]
    assert "6 comparisons passed" in done.err


@pytest.mark.parametrize(
    "options",
    [["--psnr-min", "500"], ["--atol", "1e-30"], ["--error-stat", "mean", "--atol", "1e-30"]],
    ids=lambda options: options[0],
)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_a_failed_limit_is_code_5(command: Command, tiny: Path, options: list[str], form: list[str]) -> None:
    done = command("parity", tiny, *options, *form)
    assert done.code == 5
    assert done.err.splitlines()[-1].startswith("nafdeploy: PyTorch FP32 -> ONNX FP32: 6 of 6 comparisons failed")
    assert not form or json.loads(done.out)["passed"] is False


def test_a_failed_limit_is_code_5_though_a_report_cannot_be_written(command: Command, tiny: Path) -> None:
    done = command("parity", tiny, "--atol", "1e-30", "--html", "/proc/p.html")
    assert done.code == 5
    assert "cannot be written" in done.err
    assert command("parity", tiny, "--junit", "/proc/p.xml").code == 2


def test_a_failed_limit_is_code_5_though_nobody_reads_the_output(tiny: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [*COMMAND, "parity", str(tiny), "--atol", "1e-30", "--json"]
    with os.fdopen(writing, "wb") as pipe:
        assert subprocess.run(words, stdout=pipe, stderr=subprocess.PIPE, env=plain_environment()).returncode == 5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(command: Command, bundle: Path, value: float) -> None:
    spoil(bundle, value)
    done = command("parity", bundle, "--atol", "1e30", "--psnr-min", "-1000", "--json")
    assert done.code == 5
    report = json.loads(done.out)
    assert {row["difference"]["fault"] for row in report["links"][0]["rows"]} == {
        "the engine's picture holds values that are not finite"
    }
    assert {step["useful"] for step in report["links"][0]["steps"]} == {None}


def test_a_wrong_weight_is_found_without_torch_or_options(command: Command, bundle: Path) -> None:
    spoil(bundle, 0.5)
    done = command("parity", bundle)
    assert done.code == 5
    assert "Export again" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--atol", "nan"], ["absolute limit of nan"]),
        (["--atol", "0"], ["absolute limit of 0"]),
        (["--atol", "inf"], ["absolute limit of inf"]),
        (["--rtol", "-1"], ["relative limit"]),
        (["--psnr-min", "nan"], ["nan dB"]),
        (["--error-stat", "median"], ["'median'", "'mean'"]),
        (["--images", "nowhere"], ["not a folder"]),
        (["--images", "."], ["holds no pictures"]),
        (["--html", "."], ["is a folder"]),
        (["--junit", "nowhere/p.xml"], ["does not exist"]),
        (["--junit", "p.html"], ["p.html is no name for this report", "ends with .xml"]),
        (["--html", "p"], ["p is no name for this report", "ends with .html"]),
        (["--fp32", "denoise-light"], ["is fp32 itself"]),
        (["-m", "nowhere"], ["'nowhere'"]),
        (["-m", "nafnet-gopro-w32"], ["nothing to iterate", "3 iterations"]),
    ],
    ids=" ".join,
)
def test_an_impossible_request_is_refused_and_writes_nothing(
    command: Command,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command("parity", tiny, *options).refused(2, *words)
    assert list(tmp_path.iterdir()) == []


def test_what_runs_in_steps_is_always_checked(command: Command, tiny_split: Path) -> None:
    command("parity", tiny_split, "--engine", "x.step.engine", "--trust-engine").refused(2, "always checked")


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_report_never_takes_the_place_of_what_it_is_about(command: Command, bundle: Path, option: str) -> None:
    photo(bundle.with_name("a.png"))
    before = snapshot(bundle.parent)
    for name in before:
        command("parity", bundle, "-m", bundle.with_suffix(".safetensors"), "--images", bundle.parent, option,
                bundle.with_name(name)).refused(2, name, "no name for this report")  # fmt: skip
    assert snapshot(bundle.parent) == before


def test_a_picture_whose_name_is_no_text_is_in_every_report(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(tmp_path / "a.png").rename(tmp_path / "in" / os.fsdecode(b"a\xff.png"))
    done = command("parity", tiny, "-m", tiny.with_suffix(".safetensors"), "--images", tmp_path / "in", "--html",
                   tmp_path / "p.html", "--junit", tmp_path / "p.xml")  # fmt: skip
    assert done.code == 0, done.err
    assert all("a?.png" in (tmp_path / name).read_text(encoding="utf-8") for name in ("p.html", "p.xml"))


def test_a_picture_that_cannot_be_read_is_named(command: Command, tiny: Path, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    before = snapshot(tmp_path)
    command("parity", tiny, "--images", tmp_path).refused(2, "b.png")
    assert snapshot(tmp_path) == before


def test_real_pictures_are_compared_by_name_with_pytorch(command: Command, tiny: Path, tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (45, 33))
    photo(tmp_path / "b.jpg", (300, 280))
    done = command("parity", tiny, "-m", tiny.with_suffix(".safetensors"), "--images", tmp_path, "--json")
    assert done.code == 0, done.err
    shapes = {row["name"]: row["shape"] for row in json.loads(done.out)["links"][0]["rows"]}
    assert (shapes["a.png"], shapes["b.jpg"]) == ([1, 3, 36, 48], [1, 3, 256, 256])
    assert {"natural", "black", "white", "one bright pixel", "full-range noise", "1-px checkerboard"} < set(shapes)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"inputs": [{"name": "picture", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]}, 6,
         ["disagree", "picture"]),
        ({"inputs": [{"name": "input", "dtype": "float16", "shape": ["batch", 3, "height", "width"]}]}, 6,
         ["disagree", "float16"]),
        ({"iterations": 4}, 2, ["iterations"]),
        ({"iteration_values": {"middle": ["a", "b", "c"]}}, 6, ["no value for iteration"]),
        ({"precision": "fp8"}, 2, ["fp8"]),
    ],
    ids=["input name", "input type", "more iterations", "values", "precision"],
)  # fmt: skip
def test_a_manifest_that_its_graph_contradicts_is_refused(
    command: Command, bundle: Path, changes: dict[str, object], code: int, words: list[str]
) -> None:
    edit_manifest(bundle, **changes)
    command("parity", bundle).refused(code, *words)


@pytest.mark.parametrize("damage", ["missing", "another", "cut"])
def test_a_golden_file_that_cannot_serve_is_refused(command: Command, bundle: Path, damage: str) -> None:
    golden = bundle_file(bundle, ".golden.npz")
    if damage == "missing":
        golden.unlink()
    elif damage == "another":
        np.savez_compressed(golden, schema=np.array(1), input_0=np.zeros((1, 3, 8, 8), np.float32))
    else:
        golden.write_bytes(golden.read_bytes()[:200])
    command("parity", bundle).refused(2, "golden.npz", "Export the bundle again")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_blocks": (1,), "decoder_blocks": (1,)}, "2 pixels as the unit of sides"),
        ({"scale": 2}, "2 times the size"),
        ({"channels": 1}, "1 channels"),
    ],
)
def test_a_checkpoint_of_another_structure_is_refused(
    command: Command, tiny: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    config = dataclasses.replace(RR, **change)
    other = tmp_path / "other.safetensors"
    save_checkpoint(Checkpoint(seeded(config).state_dict(), config, "other", "", {}), other)
    command("parity", tiny, "-m", other).refused(2, words, "exported from")


def test_a_checkpoint_with_other_weights_is_code_5(command: Command, tiny: Path, tmp_path: Path) -> None:
    other = Checkpoint(seeded(RR, 1).state_dict(), RR, "other", "denoising", {"source": "tests"})
    save_checkpoint(other, tmp_path / "other.safetensors")
    done = command("parity", tiny, "-m", tmp_path / "other.safetensors")
    assert done.code == 5
    assert "Export again from the checkpoint that you mean." in done.err.splitlines()[-1]
