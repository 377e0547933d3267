"""NAFSSR against its formulas, its published counts and its published parameter names."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nafnet_deploy.checkpoints.official import load_official
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.models import nafssr
from nafnet_deploy.models.registry import build, count_parameters, picture
from nafnet_deploy.presets import preset
from tests.plain_formulas import Weights, block, conv, norm
from tests.variants import STEREO
from tests.weights import seeded, stir

COUNTS = {  # of the paper's repository, x2 and x4
    "t": (445_068, 460_656),
    "s": (1_538_572, 1_559_344),
    "b": (6_765_324, 6_796_464),
    "l": (23_790_604, 23_832_112),
}


def fuse(w: Weights, at: str, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The attention between the views, row by row."""
    channels = left.shape[1]
    queries = [conv(w, f"{at}.{s}_proj1", norm(w, f"{at}.norm_{s}", x)) for s, x in (("l", left), ("r", right))]
    values = [conv(w, f"{at}.{s}_proj2", x) for s, x in (("l", left), ("r", right))]
    to_left, to_right = torch.zeros_like(left), torch.zeros_like(right)
    for b in range(left.shape[0]):
        for y in range(left.shape[2]):
            (q_l, q_r), (v_l, v_r) = ([part[b, :, y] for part in pair] for pair in (queries, values))
            scores = torch.exp(q_l.T @ q_r / math.sqrt(channels))
            to_left[b, :, y] = v_r @ (scores / scores.sum(1, keepdim=True)).T
            to_right[b, :, y] = v_l @ (scores / scores.sum(0, keepdim=True))
    return left + w[f"{at}.beta"] * to_left, right + w[f"{at}.gamma"] * to_right


def enlarge(config: ModelConfig, w: Weights, x: Tensor) -> Tensor:
    views = [conv(w, "intro", v, padding=1) for v in (x[:, :3], x[:, 3:])]
    for i in range(config.middle_blocks):
        at = f"body.{i}.module"
        views = list(fuse(w, f"{at}.fusion", *(block(config, w, f"{at}.blk", v) for v in views)))
    details = torch.cat([F.pixel_shuffle(conv(w, "up.0", v, padding=1), config.scale) for v in views], 1)
    return details + F.interpolate(x, scale_factor=config.scale, mode="bilinear")


@pytest.mark.parametrize("scale", [2, 4])
@torch.inference_mode()
def test_equals_its_formulas(scale: int) -> None:
    config = dataclasses.replace(STEREO, scale=scale)
    network, x = stir(seeded(config)).eval(), torch.rand(2, 6, 9, 14, generator=torch.Generator().manual_seed(1))
    expected = enlarge(config, {k: v.double() for k, v in network.state_dict().items()}, x.double())
    assert (network(x) - expected).abs().max() < 1e-5
    assert network(x).shape == (2, 6, 9 * scale, 14 * scale)


@torch.inference_mode()
def test_bands_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = stir(seeded(STEREO)).eval(), torch.rand(1, 6, 10, 12)
    whole = network(x)
    monkeypatch.setattr(nafssr, "MOST_SCORES", 3 * 12 * 12)
    assert (network(x) - whole).abs().max() < 1e-6


@pytest.mark.parametrize("size", COUNTS)
def test_published_counts(size: str) -> None:
    with torch.device("meta"):
        found = tuple(count_parameters(build(preset(f"nafssr-{size}-x{scale}").config)) for scale in (2, 4))
    assert found == COUNTS[size]


def test_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        keys = build(preset("nafssr-t-x4").config).state_dict().keys()
    layers = ("norm_l", "norm_r", "l_proj1", "r_proj1", "l_proj2", "r_proj2")
    fusion = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")} | {"beta", "gamma"}
    at = "body.15.module.fusion."
    assert {k.removeprefix(at) for k in keys if k.startswith(at)} == fusion
    assert {k.split(".")[0] for k in keys} == {"intro", "body", "up"}
    assert {"up.0.weight", "body.0.module.blk.sca.1.weight"} < set(keys)


def test_official_file_tells_its_network(tmp_path: Path) -> None:
    config = dataclasses.replace(STEREO, scale=4)
    torch.save({"params": seeded(config).state_dict()}, tmp_path / "stereo.pth")
    assert load_official(tmp_path / "stereo.pth").config == config


def test_damaged_official_file_is_refused(tmp_path: Path) -> None:
    weights = seeded(STEREO).state_dict()
    for missing in ("up.0.weight", "intro.weight", "body.1.module.fusion.beta"):
        torch.save({"params": {k: v for k, v in weights.items() if k != missing}}, tmp_path / "bad.pth")
        with pytest.raises(CheckpointError):
            load_official(tmp_path / "bad.pth")


def test_every_parameter_learns() -> None:
    network = seeded(STEREO)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.rand(2, 6, 8, 12, generator=generator), torch.rand(2, 6, 16, 24, generator=generator)
    for _ in range(2):
        optimizer.zero_grad()
        (picture(network, x, 1) - y).square().mean().backward()
        optimizer.step()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_blocks", (1,)),
        ("positions", ("middle",)),
        ("iterations", 2),
        ("scale", 0),
        ("scale", 9),
        ("frequency_skips", True),
        ("do_conv", True),
    ],
)
def test_impossible_configurations_name_their_field(field: str, value: object) -> None:
    changes = {field: value, **({"decoder_blocks": (1,)} if field == "encoder_blocks" else {})}
    with pytest.raises(ConfigError, match=f"^{field} = "):
        dataclasses.replace(STEREO, **changes)
