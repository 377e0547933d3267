"""The reflected trunk: one channel holds the mean, and every picture stays what it was."""

import dataclasses
from typing import Any

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nafnet_deploy.config import POSITIONS, ModelConfig
from nafnet_deploy.export.blocks import FoldedUnit
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.norms import ChannelNorm
from nafnet_deploy.export.reflect import Reflect, normal
from nafnet_deploy.export.unroll import unroll
from nafnet_deploy.models.registry import build, pictures
from tests.variants import STEREO
from tests.weights import stir

PLAIN = ModelConfig(width=4, encoder_blocks=(1, 2), middle_blocks=1, decoder_blocks=(1, 1))
RR = dataclasses.replace(PLAIN, architecture="nafnet-rr", positions=("middle",), iterations=2)


def difference(config: ModelConfig) -> float:
    network = stir(build(config)).eval()
    size = 8 * config.size_multiple
    x = torch.rand(1, config.planes, size, size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before, after = pictures(network, x, config.iterations), pictures(fold(network), x, config.iterations)
    return max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("channels", [1, 2, 8, 512])
def test_the_reflection_is_its_own_inverse_and_takes_the_mean_into_the_first_channel(channels: int) -> None:
    x = torch.rand(2, channels, 3, 5, generator=torch.Generator().manual_seed(0))
    turned = Reflect(channels)(x)
    assert torch.allclose(Reflect(channels)(turned), x, atol=1e-4)
    assert torch.allclose(turned[:, 0], x.mean(dim=1) * channels**0.5, atol=1e-4)
    constant = Reflect(channels)(torch.ones(1, channels, 1, 1))
    assert constant[:, 1:].abs().max() < 1e-4 if channels > 1 else constant.item() == 1
    assert float(normal(channels).norm()) == pytest.approx(1 if channels > 1 else 0)


@given(
    positions=st.sets(st.sampled_from(POSITIONS)),
    encoder=st.lists(st.integers(0, 2), min_size=1, max_size=2),
    middle=st.integers(0, 2),
    units=st.integers(0, 1),
    skips=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_no_layout_of_blocks_units_and_filters_changes_the_picture(
    positions: set[str], encoder: list[int], middle: int, units: int, skips: bool
) -> None:
    body = {"encoder_blocks": tuple(encoder), "middle_blocks": middle, "decoder_blocks": tuple(encoder)}
    config = dataclasses.replace(PLAIN, frequency_skips=skips, **body)
    if positions:
        places = tuple(p for p in POSITIONS if p in positions)
        config = dataclasses.replace(
            config, architecture="nafnet-rr", positions=places, reasoning_blocks=units, iterations=2
        )
    assert difference(config) < 3e-6


@pytest.mark.parametrize(
    "parts",
    [{"gate": "gelu", "attention": "ca"}, {"gate": "swiglu", "attention": "eca"}, {"norm": "none"}, {"scale": 2}],
)
def test_it_holds_for_variants(parts: dict[str, str]) -> None:
    assert difference(dataclasses.replace(PLAIN, **parts)) < 3e-6
    assert difference(dataclasses.replace(RR, **parts)) < 3e-6


@pytest.mark.parametrize(
    "parts", [{}, {"gate": "gelu", "attention": "ca"}, {"norm": "none"}, {"width": 2}, {"middle_blocks": 0}]
)
def test_it_holds_for_stereo(parts: dict[str, Any]) -> None:
    assert difference(dataclasses.replace(STEREO, **parts)) < 3e-6


def test_both_views_of_a_pair_are_worked_out_by_the_same_nodes() -> None:
    folded = fold(build(STEREO))
    free = {0: "batch", 2: "height", 3: "width"}
    kinds = [node.op_type for node in unroll(folded, STEREO, 1, (2, 6, 16, 20), free, 18).graph.node]
    norms = sum(isinstance(module, ChannelNorm) for module in folded.modules())
    convs = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert kinds.count("Conv") == convs + norms + 1, "one enlarges the pictures"
    assert "Sub" not in kinds


def test_only_the_norms_of_units_still_subtract_a_mean() -> None:
    folded = fold(build(dataclasses.replace(RR, reasoning_blocks=1)))
    norms = [norm for norm in folded.modules() if isinstance(norm, ChannelNorm)]
    assert norms
    assert all(norm.centred for norm in norms)
    assert sum(isinstance(unit, FoldedUnit) for unit in folded.modules()) == 1


def test_a_plain_network_pays_nothing_for_it() -> None:
    """Every reflection is inside a conv that was there before: no Sub, and one small conv per norm."""
    folded = fold(build(PLAIN))
    assert not any(isinstance(module, Reflect) for module in folded.modules())
    graph = unroll(folded, PLAIN, 1, (1, 3, 16, 16), {}, 18).graph
    kinds = [node.op_type for node in graph.node]
    assert "Sub" not in kinds
    norms = sum(isinstance(module, ChannelNorm) for module in folded.modules())
    convs = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert kinds.count("Conv") == convs + norms
    assert onnx.checker.check_model(onnx.helper.make_model(graph)) is None


def test_a_trunk_with_a_large_mean_keeps_its_precision() -> None:
    """What the mean would drown stays exact: the norm never subtracts one large number from another."""
    network = stir(build(PLAIN)).eval()
    with torch.no_grad():
        network.intro.bias += 100.0
        x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
        exact = network.double()(x.double())
        assert isinstance(exact, torch.Tensor)
        assert (fold(network.float())(x).double() - exact).abs().max() < 1e-3
