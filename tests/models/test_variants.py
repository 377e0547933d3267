"""Gates, attention and ablations against their formulas; counts; every parameter learns."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.attention import eca_kernel
from nafnet_deploy.models.registry import build, count_parameters, picture, pictures
from nafnet_deploy.presets import preset
from tests.plain_formulas import restore
from tests.variants import PARTS, PLAIN, RR, variant
from tests.weights import seeded, stir

BOTH = list(product(PARTS, (False, True)))


@pytest.mark.parametrize(("name", "reasoning"), BOTH)
@torch.inference_mode()
def test_equals_its_formulas(name: str, reasoning: bool) -> None:
    config = variant(name, reasoning)
    network = stir(seeded(config)).eval()
    x = torch.rand(2, 3, 20, 28, generator=torch.Generator().manual_seed(1))
    exact = {k: v.double() for k, v in network.state_dict().items()}
    for n in range(1, config.iterations + 2) if reasoning else (1,):
        expected = restore(config, exact, x.double(), n)
        assert (expected - x).abs().max() > 1e-2  # it does something
        assert (picture(network, x, n).double() - expected).abs().max() < 1e-5


@pytest.mark.parametrize("base", [PLAIN, RR], ids=lambda c: c.architecture)
@torch.inference_mode()
def test_formulas_give_the_standard_network_too(base: ModelConfig) -> None:
    network, x = stir(seeded(base)).eval(), torch.rand(1, 3, 16, 16)
    assert (picture(network, x, 1) - restore(base, network.state_dict(), x)).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("base", [PLAIN, RR], ids=lambda c: c.architecture)
@torch.inference_mode()
def test_scale_enlarges_at_every_iteration(base: ModelConfig, scale: int) -> None:
    config = dataclasses.replace(base, scale=scale)
    network, x = stir(seeded(config)).eval(), torch.rand(1, 3, 16, 12)
    for n, restored in enumerate(pictures(network, x, config.iterations), 1):
        assert restored.shape == (1, 3, 16 * scale, 12 * scale)
        assert (restored - restore(config, network.state_dict(), x, n)).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "reasoning"), BOTH)
def test_every_parameter_learns(name: str, reasoning: bool) -> None:
    """After one step beta and gamma are no longer 0, and from then on a gradient reaches everything."""
    # twice the width: of the 4 hidden channels that 8 leave to CA, ReLU may happen to silence all
    config = dataclasses.replace(variant(name, reasoning), width=16)
    network = seeded(config)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    for _ in range(2):
        optimizer.zero_grad()
        (picture(network, x, config.iterations) - y).square().mean().backward()
        optimizer.step()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@pytest.mark.parametrize(
    ("name", "count", "millions"),
    [
        ("baseline-gopro-w32", 17_023_875, "17.02"),
        ("baseline-gopro-w64", 112_036_291, "112.04"),
        ("baseline-sidd-w32", 29_056_227, "29.06"),
        ("baseline-sidd-w64", 194_419_779, "194.42"),
    ],
)
def test_baseline_counts(name: str, count: int, millions: str) -> None:
    with torch.device("meta"):
        found = count_parameters(build(preset(name).config))
    assert f"{found / 1e6:.2f}" == millions
    assert found == count


def test_baseline_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        keys = build(preset("baseline-sidd-w32").config).state_dict().keys()
    block = {k.removeprefix("middle_blks.11.") for k in keys if k.startswith("middle_blks.11.")}
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "norm1", "norm2", "se.1", "se.3")
    assert block == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")} | {"beta", "gamma"}


def test_plainnet_has_convs_beta_and_gamma_alone() -> None:
    with torch.device("meta"):
        keys = build(preset("plainnet-w32").config).state_dict().keys()
    assert {k.split(".")[3] for k in keys if k.startswith("encoders.")} == {
        "conv1", "conv2", "conv3", "conv4", "conv5", "beta", "gamma"
    }  # fmt: skip


@pytest.mark.parametrize(("channels", "kernel"), [(1, 1), (8, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5)])
def test_eca_kernel(channels: int, kernel: int) -> None:
    assert eca_kernel(channels) == kernel


@torch.inference_mode()
def test_one_channel() -> None:
    config = dataclasses.replace(PLAIN, width=1, attention="eca")
    assert build(config)(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
