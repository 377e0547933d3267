"""Our safetensors checkpoints: nothing is lost, and every damage is one clear error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nafnet_deploy.checkpoint_header import FORMAT, FORMAT_KEY, read_header
from nafnet_deploy.checkpoints.store import Checkpoint, load_checkpoint, save_checkpoint
from nafnet_deploy.errors import CheckpointError
from tests.variants import RESTORMER
from tests.weights import seeded


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(checkpoint, path)
    return path


def refused(path: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as error:
        load_checkpoint(path)
    assert "\n" not in error.value.message
    assert error.value.mend
    return error.value


def rewrite(path: Path, **metadata: str) -> None:
    """Replaces metadata of a saved checkpoint."""
    save_file(load_file(path), path, {**read_header(path).metadata, **metadata})


def test_round_trip_is_bit_exact(checkpoint: Checkpoint, saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert dataclasses.replace(loaded, weights={}) == dataclasses.replace(checkpoint, weights={})
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(loaded.weights[k], v) for k, v in checkpoint.weights.items())
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_restormer_without_refinement_comes_back(tmp_path: Path) -> None:
    config = dataclasses.replace(RESTORMER, middle_blocks=9, refinement_blocks=0)
    save_checkpoint(Checkpoint(seeded(config).state_dict(), config, "r", "", {}), tmp_path / "r.safetensors")
    assert load_checkpoint(tmp_path / "r.safetensors").config == config


@torch.inference_mode()
def test_network_is_rebuilt(checkpoint: Checkpoint, saved: Path) -> None:
    network = load_checkpoint(saved).network()
    assert not network.training
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(x, 2), checkpoint.network()(x, 2))


def test_network_owns_its_weights(checkpoint: Checkpoint) -> None:
    network = checkpoint.network()
    before = checkpoint.weights["intro.weight"].clone()
    with torch.no_grad():
        network.get_parameter("intro.weight").zero_()
    assert torch.equal(checkpoint.weights["intro.weight"], before)


def test_half_weights_come_back_as_half_and_compute_as_float(checkpoint: Checkpoint, tmp_path: Path) -> None:
    half = dataclasses.replace(checkpoint, weights={k: v.half() for k, v in checkpoint.weights.items()})
    save_checkpoint(half, tmp_path / "half.safetensors")
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    assert {v.dtype for v in loaded.weights.values()} == {torch.float16}
    assert {p.dtype for p in loaded.network().parameters()} == {torch.float32}


def test_strided_weights_can_be_saved(checkpoint: Checkpoint, tmp_path: Path) -> None:
    strided = {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in checkpoint.weights.items()}
    save_checkpoint(dataclasses.replace(checkpoint, weights=strided), tmp_path / "x.safetensors")
    loaded = load_checkpoint(tmp_path / "x.safetensors").weights
    assert all(torch.equal(loaded[k], v) for k, v in checkpoint.weights.items())


def test_saving_replaces_and_makes_folders(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "tiny.safetensors"
    save_checkpoint(checkpoint, path)
    save_checkpoint(dataclasses.replace(checkpoint, name="second"), path)
    assert load_checkpoint(path).name == "second"


def test_failed_save_keeps_the_old_file(checkpoint: Checkpoint, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(weights: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nafnet_deploy.checkpoints.store.save_file", full)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(checkpoint, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_unwritable_place(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(checkpoint, tmp_path / "file" / "x.safetensors")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "No such file")
    refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("content", [b"", b"\0" * 4, b"hello, this is a text file", b"\xff" * 64])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, "not a whole safetensors file")


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    cut = tmp_path_factory.getbasetemp() / "cut.safetensors"
    whole = _whole(tmp_path_factory)
    cut.write_bytes(whole[: int(share * len(whole))])
    refused(cut, "not a whole safetensors file")


@settings(max_examples=150)
@given(data=st.data())
def test_flipped_header_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(_whole(tmp_path_factory))
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(whole)
    with contextlib.suppress(CheckpointError):
        load_checkpoint(path).network()


def _whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Bytes of a plain small checkpoint, made once."""
    from nafnet_deploy.config import ModelConfig
    from nafnet_deploy.models.registry import build

    path = tmp_path_factory.getbasetemp() / "whole.safetensors"
    if not path.exists():
        config = ModelConfig(width=2, encoder_blocks=(1,), decoder_blocks=(1,))
        save_checkpoint(Checkpoint(build(config).state_dict(), config, "w", "", {}), path)
    return path.read_bytes()


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "no nafnet_deploy metadata")


def test_newer_format(saved: Path) -> None:
    rewrite(saved, **{FORMAT_KEY: str(FORMAT + 1)})
    assert "Update" in refused(saved, f"format {FORMAT + 1}").mend


@pytest.mark.parametrize(
    "metadata",
    [
        {FORMAT_KEY: "zero"},
        {FORMAT_KEY: "0"},
        {"config": "{"},
        {"config": "[]"},
        {"config": '{"widht": 4}'},
        {"config": '{"width": 0}'},
        {"provenance": "[]"},
        {"provenance": "nope"},
    ],
)
def test_damaged_metadata(saved: Path, metadata: dict[str, str]) -> None:
    rewrite(saved, **metadata)
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 8},
        {"middle_blocks": 2},
        {"middle_blocks": 0},
        {"middle_blocks": 10**9},
        {"width": 10**15},
        {"positions": ["middle"]},
        {"encoder_blocks": [1] * 40, "decoder_blocks": [1] * 40},
        {"encoder_blocks": [0] * 80, "decoder_blocks": [0] * 80},
    ],
)
def test_weights_that_do_not_fit(checkpoint: Checkpoint, saved: Path, change: dict[str, object]) -> None:
    rewrite(saved, config=json.dumps({**checkpoint.config.to_dict(), **change}))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(saved)
    assert len(error.value.message) < 600


def test_misfits_are_named(checkpoint: Checkpoint) -> None:
    weights = dict(checkpoint.weights)
    del weights["ending.bias"]
    weights["extra"] = torch.zeros(1)
    weights["intro.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as error:
        dataclasses.replace(checkpoint, weights=weights).network()
    for part in ("ending.bias is missing", "extra is unknown", "intro.bias is [5], not [4]"):
        assert part in error.value.message
    with pytest.raises(CheckpointError, match=r"and \d+ more"):
        dataclasses.replace(checkpoint, weights={f"x{i}": torch.zeros(1) for i in range(90)}).network()
