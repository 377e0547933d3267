"""The reader of published `.pth` files: everything is inferred, nothing is executed."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nafnet_deploy.checkpoints.official import load_official
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError
from nafnet_deploy.manifest import sha256_of
from nafnet_deploy.models.registry import build
from nafnet_deploy.presets import preset
from tests.weights import stir

CONFIG = ModelConfig(width=4, encoder_blocks=(1, 0, 2), middle_blocks=2, decoder_blocks=(1, 0, 3), channels=1)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return OrderedDict(stir(build(CONFIG)).state_dict())


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path / "NAFNet-tiny.pth")
    return path / "NAFNet-tiny.pth"


def refused(path: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as error:
        load_official(path)
    assert "\n" not in error.value.message
    assert error.value.mend
    return error.value


@pytest.mark.parametrize("container", ["params", "params_ema", "model_state_dict", "state_dict", "model", "net", None])
@pytest.mark.parametrize("prefix", ["", "module.", "netG.", "module.netG.", "netG.module."])
def test_containers_and_prefixes(tmp_path: Path, weights: dict[str, Tensor], container: str, prefix: str) -> None:
    named = {prefix + k: v for k, v in weights.items()}
    path = saved(tmp_path, {container: named, "epoch": 3, "optimizer": {"lr": 0.1}} if container else named)
    checkpoint = load_official(path)
    assert checkpoint.config == CONFIG
    assert checkpoint.name == "NAFNet-tiny"
    assert checkpoint.provenance == {
        "source": "NAFNet-tiny.pth",
        "sha256": sha256_of(path),
        "container": container or "bare",
    }
    assert checkpoint.weights.keys() == weights.keys()
    assert all(torch.equal(checkpoint.weights[k], v) for k, v in weights.items())
    checkpoint.network()


def test_averaged_weights_win(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    zeros = {k: torch.zeros_like(v) for k, v in weights.items()}
    checkpoint = load_official(saved(tmp_path, {"params": zeros, "params_ema": weights}))
    assert torch.equal(checkpoint.weights["intro.weight"], weights["intro.weight"])


def test_half_weights_become_float(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    checkpoint = load_official(saved(tmp_path, {k: v.half() for k, v in weights.items()}))
    assert {v.dtype for v in checkpoint.weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.to(torch.int8), "holds int8"),
        (lambda v: v.to(torch.complex64), "holds complex64"),
        (lambda v: v.to_sparse(), "holds sparse or quantised values"),
        (lambda v: v.to("meta"), "holds sparse or quantised values"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], change: Callable[[Tensor], Tensor], words: str
) -> None:
    refused(saved(tmp_path, {**weights, "intro.weight": change(weights["intro.weight"])}), words)


@pytest.mark.parametrize("name", ["nafnet-gopro-w32", "nafnet-sidd-w32"])
def test_published_configurations_are_told_apart(tmp_path: Path, name: str) -> None:
    config = preset(name).config
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in build(config).state_dict().items()}
    # One stored scalar per tensor keeps the file small.
    weights = {k: torch.zeros(1).expand(shape) for k, shape in shapes.items()}
    assert load_official(saved(tmp_path, {"params": weights})).config == config


class Touch:
    """A pickle that makes a file when it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool, protocol: int) -> None:
    proof, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"params": {"intro.weight": torch.zeros(1)}, "meta": Touch(proof)}
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(Touch(proof), protocol=protocol))
    refused(path, "refused and nothing in it was run")
    assert not proof.exists()
    if not zipped:
        pickle.loads(path.read_bytes())
        assert proof.exists()  # the file was a real attack


def test_own_classes_are_refused_by_name(tmp_path: Path) -> None:
    refused(saved(tmp_path, nn.Linear(1, 1)), r"torch\.nn\.modules\.linear\.Linear")


def test_missing_empty_text_and_truncated(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    refused(tmp_path / "none.pth", "does not exist")
    refused(tmp_path, "not a file")
    path = saved(tmp_path, weights)
    whole = path.read_bytes()
    for content in (b"", b"hello, this is a text file", *(whole[: len(whole) * k // 7] for k in range(1, 7))):
        path.write_bytes(content)
        refused(path, "not a readable PyTorch checkpoint|not a plain table")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(path)  # type: ignore[no-untyped-call]
    refused(path, "TorchScript")


@pytest.mark.parametrize(
    "content", [3, [], {}, {"params": {}}, {"epoch": 3}, {"params": {"a": 1}}, {1: torch.zeros(1)}]
)
def test_no_table_of_weights(tmp_path: Path, content: Any) -> None:
    refused(saved(tmp_path, content), "no table of weights")


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        (["patch_embed.proj.weight", "encoder_level1.0.norm1.body.weight", "output.weight"], "Restormer"),
        (["conv_first.weight", "layers.0.residual_group.blocks.0.norm1.weight"], "SwinIR"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "ResNet"),
        (["intro.weight", "body.0.blk.conv1.weight", "up.0.weight"], "a NAFSSR of another layout"),
        (["features.0.weight"], "unknown network: 1 tensors, among them features.0.weight"),
        (["intro.weight"], "unknown network"),
    ],
)
def test_another_architecture_is_named(tmp_path: Path, keys: list[str], family: str) -> None:
    refused(saved(tmp_path, {k: torch.zeros(1) for k in keys}), family)


ABLATIONS = {
    "baseline": {"gate": "gelu", "attention": "ca", "dw_expand": 1},
    "wide baseline": {"gate": "gelu", "attention": "ca"},
    "plain": {"gate": "relu", "attention": "none", "norm": "none", "dw_expand": 1},
    "eca": {"attention": "eca"},
    "expanded": {"dw_expand": 4, "ffn_expand": 3},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_parts_of_the_blocks_are_found(tmp_path: Path, name: str) -> None:
    config = dataclasses.replace(CONFIG, **ABLATIONS[name])
    checkpoint = load_official(saved(tmp_path, {"params": stir(build(config)).state_dict()}))
    assert checkpoint.config == config
    checkpoint.network()


def test_ca_of_one_layer_is_no_baseline(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    refused(saved(tmp_path, {k.replace(".sca.", ".se."): v for k, v in weights.items()}), r"se\.3\.weight is missing")


def test_damaged_first_block(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    for shape in ((), (0, 4, 1, 1), (4, 0, 1, 1), (9, 4, 1, 1)):
        refused(saved(tmp_path, {**weights, "encoders.0.0.conv1.weight": torch.zeros(shape)}), "conv1.weight is")


def test_gaps_in_the_numbering(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    for stage in ("decoders.2.1", "middle_blks.0", "downs.1"):
        gone = {k: v for k, v in weights.items() if not k.startswith(stage + ".")}
        refused(saved(tmp_path, gone), rf"{stage} is missing")


def test_strange_tensors(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    refused(saved(tmp_path, {**weights, "extra.weight": torch.zeros(1)}), "extra.weight is unknown")
    refused(saved(tmp_path, {**weights, "ending.bias": torch.zeros(9)}), r"ending.bias is \[9\]")
    refused(saved(tmp_path, {k: v for k, v in weights.items() if k != "middle_blks.0.beta"}), "beta is missing")
    refused(saved(tmp_path, {**weights, "intro.weight": torch.zeros(0, 0, 3, 3)}), "width")
