"""Restormer against an independent implementation, its published count, layout and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from nafnet_deploy.checkpoints.official import load_official
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import build, count_parameters
from nafnet_deploy.models.restormer import attend_channels
from nafnet_deploy.presets import preset
from tests.oracles import spandrel_restormer
from tests.variants import RESTORMER
from tests.weights import seeded, stir

THREE_LEVELS = dataclasses.replace(
    RESTORMER, encoder_blocks=(2, 1, 1), decoder_blocks=(1, 1, 2), heads=(1, 2, 2, 4), ffn_expand=2.5
)
"""What the other implementation always has."""


@pytest.mark.parametrize("config", [THREE_LEVELS, preset("restormer").config], ids=["small", "published"])
@torch.inference_mode()
def test_equals_spandrel(config: ModelConfig) -> None:
    theirs, ours = spandrel_restormer(config).eval(), build(config).eval()
    stir(theirs)
    ours.load_state_dict(theirs.state_dict())
    side = config.size_multiple
    for height, width in ((4 * side, 6 * side), (side, 3 * side)):
        x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
        expected = theirs(x)
        assert (expected - x).abs().max() > 1e-2  # it does something
        assert (ours(x) - expected).abs().max() < 1e-5


def test_published_count() -> None:
    with torch.device("meta"):
        assert count_parameters(build(preset("restormer").config)) == 26_126_644


@torch.inference_mode()
def test_sums_over_pixels_survive_half_precision() -> None:
    qkv = 20 + torch.rand(1, 12, 256, 256, generator=torch.Generator().manual_seed(2))
    temperature = torch.full((2, 1, 1), 3.0)
    half = attend_channels(qkv.half(), temperature.half()).float()
    assert (half - attend_channels(qkv, temperature)).abs().max() < 0.05  # of values near 20


def test_every_parameter_learns() -> None:
    network = seeded(RESTORMER)
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.rand(2, 3, 16, 24, generator=generator) for _ in range(2))
    (network(x) - y).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize(
    "config", [RESTORMER, THREE_LEVELS, preset("restormer").config], ids=["small", "three levels", "published"]
)
def test_official_file_tells_its_network(config: ModelConfig, tmp_path: Path) -> None:
    network = build(config)
    torch.save({"params": network.state_dict()}, tmp_path / "restormer.pth")
    assert load_official(tmp_path / "restormer.pth").config == config


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("patch_embed.proj.weight", "damaged"),
        ("encoder_level1.0.attn.temperature", "damaged"),
        ("encoder_level2.0.ffn.project_out.weight", "damaged"),
        ("refinement.0.attn.qkv.weight", "refinement.0.attn.qkv.weight"),
    ],
)
def test_damaged_official_file_is_refused(missing: str, words: str, tmp_path: Path) -> None:
    weights = {k: v for k, v in seeded(RESTORMER).state_dict().items() if k != missing}
    torch.save({"params": weights}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=words):
        load_official(tmp_path / "bad.pth")


def test_norms_without_bias_are_refused_by_name(tmp_path: Path) -> None:
    weights = {k: v for k, v in seeded(RESTORMER).state_dict().items() if not k.endswith("body.bias")}
    torch.save({"params": weights}, tmp_path / "denoiser.pth")
    with pytest.raises(CheckpointError, match="norms have no bias"):
        load_official(tmp_path / "denoiser.pth")


def test_local_means_are_refused() -> None:
    with pytest.raises(ConfigError, match="no global means"):
        localise(seeded(RESTORMER), RESTORMER, 384)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heads", ()),
        ("heads", (1, 2)),
        ("heads", (1, 2, 0)),
        ("heads", (3, 2, 4)),
        ("width", 9),
        ("ffn_expand", 0.5),
        ("ffn_expand", float("inf")),
        ("refinement_blocks", -1),
        ("attention", "sca"),
        ("scale", 2),
        ("gate", "geglu"),
        ("do_conv", True),
        ("positions", ("middle",)),
        ("iterations", 2),
    ],
)
def test_impossible_configurations_name_their_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = "):
        dataclasses.replace(RESTORMER, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("heads", (1, 2)), ("refinement_blocks", 1), ("ffn_expand", 2.5), ("ffn_expand", float("nan"))]
)
def test_its_fields_belong_to_no_other_network(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = "):
        ModelConfig(**{field: value})
