"""Models, bundles and recipes that must be refused: one line, the code, nothing written, nothing executed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nafnet_deploy.manifest import bundle_file, sha256_of
from tests.cli.conftest import Command, snapshot


class Evil:
    """Unpickled, it would make the file `proof`."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle to spoil."""
    for path in tiny.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / tiny.name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def vouch(graph: Path) -> None:
    """Makes the manifest agree with a spoiled graph."""
    sidecar = bundle_file(graph, ".json")
    table = json.loads(sidecar.read_text())
    table["sha256"][".onnx"] = sha256_of(graph)
    sidecar.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        ("missing", 2, ["does not exist", "nafdeploy export"]),
        ("no manifest", 2, ["has no manifest", "together"]),
        ("manifest is no JSON", 2, ["not a readable manifest", "Export"]),
        ("unknown manifest key", 2, ["'iteratons'", "'iterations'"]),
        ("cut", 6, ["hash differs", "export the bundle again"]),
        ("cut, with a manifest that agrees", 6, ["cannot be loaded", "export the bundle again"]),
        ("cut, fewer iterations", 6, ["not a readable ONNX", "Export the bundle again"]),
    ],
)
def test_a_damaged_bundle_is_refused(
    command: Command, bundle: Path, picture: Path, damage: str, code: int, words: list[str]
) -> None:
    sidecar = bundle_file(bundle, ".json")
    if damage == "missing":
        bundle.unlink()
    elif damage == "no manifest":
        sidecar.unlink()
    elif damage == "manifest is no JSON":
        cut(sidecar)
    elif damage == "unknown manifest key":
        sidecar.write_text(sidecar.read_text().replace('"iterations"', '"iteratons"', 1))
    else:
        cut(bundle)
        if damage != "cut":
            vouch(bundle)
    options = ["--iters", "1"] if "fewer" in damage else []
    before = snapshot(picture.parent)
    command("run", picture, "-m", bundle, *options).refused(code, *words)
    assert snapshot(picture.parent) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_parity_with_a_bad_golden_file_is_refused(command: Command, bundle: Path, damage: str) -> None:
    golden = bundle_file(bundle, ".golden.npz")
    if damage == "missing":
        golden.unlink()
    elif damage == "cut":
        cut(golden)
    else:
        golden.write_bytes(golden.read_bytes() + b"\0")
    command("parity", bundle).refused(2, golden.name, "xport the bundle again")


@pytest.mark.parametrize("name", ["run", "parity"])
def test_an_unknown_model_is_refused(command: Command, picture: Path, name: str) -> None:
    line = ["run", picture, "-m"] if name == "run" else ["parity"]
    command(*line, "denoise-lihgt").refused(2, "'denoise-lihgt'", ".onnx")


def test_a_checkpoint_in_place_of_a_graph_says_how_to_export_it(command: Command, tiny: Path, picture: Path) -> None:
    command("run", picture, "-m", tiny.with_suffix(".safetensors")).refused(2, "nafdeploy export")


def spoil_checkpoint(folder: Path, tiny: Path, kind: str) -> Path:
    path = folder / ("bad.safetensors" if "safetensors" in kind else "bad.pth")
    if kind == "another architecture.pth":
        torch.save({"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3), "fc.weight": torch.zeros(2, 4)}, path)
    elif kind == "code.pth":
        torch.save({"params": Evil(folder / "proof")}, path)
    elif kind == "cut.pth":
        torch.save({"intro.weight": torch.zeros(64, 64)}, path)
        cut(path)
    elif kind == "another architecture.safetensors":
        save_file({"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}, path)
    elif kind == "cut.safetensors":
        shutil.copy(tiny.with_suffix(".safetensors"), path)
        cut(path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing.pth", ["does not exist"]),
        ("missing.safetensors", ["cannot be read", "Check the path"]),
        ("another architecture.pth", ["not a NAFNet but a ResNet", "Give a NAFNet checkpoint"]),
        ("another architecture.safetensors", ["network is unknown", "Give a checkpoint"]),
        ("code.pth", ["nothing in it was run", "tensors only"]),
        ("cut.pth", ["not a readable PyTorch checkpoint", "again"]),
        ("cut.safetensors", ["not a whole safetensors", "again"]),
    ],
)
def test_a_bad_checkpoint_is_refused_and_nothing_in_it_runs(
    command: Command, tiny: Path, tmp_path: Path, kind: str, words: list[str]
) -> None:
    path = spoil_checkpoint(tmp_path, tiny, kind)
    before = snapshot(tmp_path)
    command("export", path, "-o", tmp_path / "out").refused(2, path.name, *words)
    if "another architecture.safetensors" not in kind:  # inspect describes a foreign safetensors file
        command("inspect", path).refused(2, path.name)
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["export", "mediun"], 2, ["'mediun'", "'medium'"]),
        (["export", "light", "--iters", "0"], 2, ["--iters 0", "1 or more"]),
        (["export", "nafnet-gopro-w32", "--iters", "2"], 2, ["no reasoning", "--iters 1"]),
        (["export", "light", "--imgsz", "30x50"], 2, ["multiples of 4", "32x52"]),
        (["export", "light", "--imgsz", "big"], 2, ["imgsz", "HxW"]),
        (["export", "light", "--batch", "0"], 2, ["batch", "1"]),
        (["export", "light", "--opset", "9"], 2, ["opset", "18"]),
        (["bench", "light", "--iters", "0"], 2, ["--iters 0", "1 or more"]),
        (["bench", "light", "--runs", "0"], 2, ["--runs 0", "1 or more"]),
        (["bench", "light", "--warmup", "-1"], 2, ["--warmup -1", "0 or more"]),
    ],
)
def test_impossible_requests_are_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], code: int, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command(*line).refused(code, *words)
    assert list(tmp_path.iterdir()) == []


def test_bench_refuses_more_iterations_than_the_graph_has(command: Command, tiny: Path) -> None:
    command("bench", tiny, "--iters", "4").refused(6, "4 iterations", "has 3")


def test_an_export_below_a_file_is_refused(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    command("export", tiny.with_suffix(".safetensors"), "-o", tmp_path / "file" / "out").refused(2, "-o")
    assert snapshot(tmp_path) == {"file": b"in the way"}


@pytest.mark.parametrize("name", ["export", "train"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read", "Check the path"]),
        ("name = ", ["not valid TOML", "Correct"]),
        ('nmae = "x"\n', ["'nmae'", "'name'"]),
    ],
)
def test_a_bad_recipe_is_refused(
    command: Command, tmp_path: Path, name: str, content: str | None, words: list[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    if content is not None:
        recipe.write_text(content)
    before = snapshot(tmp_path)
    line = ["export", "--recipe", recipe] if name == "export" else ["train", recipe]
    command(*line, "-o", tmp_path / "out").refused(2, "recipe.toml", *words)
    assert snapshot(tmp_path) == before
