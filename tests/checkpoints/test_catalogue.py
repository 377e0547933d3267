"""From a user's word to a checkpoint or a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.errors import CheckpointError
from nafnet_deploy.released import find_bundle, released_models
from tests.bundles import write_bundle


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr("nafnet_deploy.released.weights_folder", lambda: folder)
    monkeypatch.setattr("nafnet_deploy.checkpoints.catalogue.weights_folder", lambda: folder)
    return folder


def test_paths(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "x.safetensors")
    assert load_model(str(tmp_path / "x.safetensors")).name == "tiny"
    assert load_model(tmp_path / "x.safetensors").config == checkpoint.config
    torch.save(load_model("light").weights, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="unknown"):  # a NAFNet-RR is no official checkpoint
        load_model(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="exported graph"):
        load_model("x.onnx")


def test_preset_gives_random_weights_that_say_so() -> None:
    before = torch.random.get_rng_state()
    first, again, other = load_model("light"), load_model("light", seed=0), load_model("light", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.provenance == {"source": "random weights, seed 0"}
    assert other.provenance == {"source": "random weights, seed 1"}
    assert torch.equal(first.weights["intro.weight"], again.weights["intro.weight"])
    assert not torch.equal(first.weights["intro.weight"], other.weights["intro.weight"])
    first.network()


def test_released_checkpoint_by_name(weights_folder: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(checkpoint, weights_folder / "denoise-tiny.safetensors")
    assert load_model("denoise-tiny").name == "tiny"
    with pytest.raises(CheckpointError, match="no model 'denoise-tyni'") as error:
        load_model("denoise-tyni")
    assert "Did you mean 'denoise-tiny'?" in error.value.mend


@pytest.mark.usefixtures("weights_folder")
def test_unknown_reference_lists_what_exists() -> None:
    with pytest.raises(CheckpointError, match="no model 'zzz'") as error:
        load_model("zzz")
    for word in ("light", "nafnet-sidd-w32", ".safetensors", ".pth"):
        assert word in error.value.mend


def test_released_bundles(weights_folder: Path) -> None:
    assert released_models() == ()
    with pytest.raises(CheckpointError, match="denoise-light") as error:
        find_bundle()
    assert "brings no model" in error.value.mend
    write_bundle(weights_folder / "denoise-light.onnx")
    assert released_models() == ("denoise-light",)
    assert find_bundle().manifest.name == "denoise-light"
    assert find_bundle(weights_folder / "denoise-light.onnx") == find_bundle("denoise-light")
    with pytest.raises(CheckpointError) as error:
        find_bundle("denoise-lite")
    assert "Did you mean 'denoise-light'?" in error.value.mend


def test_checkpoint_in_place_of_a_bundle() -> None:
    with pytest.raises(CheckpointError) as error:
        find_bundle("runs/best.safetensors")
    assert error.value.mend == "Export it first: nafdeploy export runs/best.safetensors"
