"""Folding changes the form of a network, not what it computes."""

import pytest
import torch

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.blocks import FoldedBlock, FoldedUnit
from nafnet_deploy.export.fold import fold
from nafnet_deploy.models.blocks import NAFBlock, Parts
from nafnet_deploy.models.reasoning import ReasoningUnit
from nafnet_deploy.models.registry import build, pictures
from tests.weights import stir

CONFIGS = {
    "plain": ModelConfig(width=8, encoder_blocks=(1, 2), middle_blocks=1, decoder_blocks=(1, 1)),
    "rr": ModelConfig(
        architecture="nafnet-rr",
        width=8,
        encoder_blocks=(1, 1),
        middle_blocks=2,
        decoder_blocks=(1, 1),
        positions=("encoder", "middle", "decoder"),
        reasoning_blocks=1,
        iterations=3,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_folded_network_gives_the_same_picture_at_every_iteration(name: str) -> None:
    config = CONFIGS[name]
    network = stir(build(config)).eval()
    x = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = pictures(network, x, config.iterations), pictures(fold(network), x, config.iterations)
    assert len(before) == config.iterations
    for a, b in zip(before, after, strict=True):
        assert (a - x).abs().max() > 1e-3, "the network must do something, or the comparison is empty"
        assert torch.allclose(a, b, atol=2e-6, rtol=0)


def test_folding_leaves_the_original_alone_and_no_unfolded_part_behind() -> None:
    network = stir(build(CONFIGS["rr"]))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    folded = fold(network)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    kinds = [type(m) for m in folded.modules()]
    assert NAFBlock not in kinds
    assert ReasoningUnit not in kinds
    assert FoldedBlock in kinds
    assert FoldedUnit in kinds


def test_norm_keeps_its_statistics_in_float32_for_half_input() -> None:
    norm = fold(torch.nn.Sequential(NAFBlock(8)))[0].norm1
    x = torch.full((1, 8, 2, 2), -300.0).half()
    x[:, ::2] = 300.0
    assert torch.allclose(norm(x).float().abs(), torch.ones(1, 8, 2, 2), atol=1e-3)


@pytest.mark.parametrize("gate", ["simple", "swiglu", "gelu"])
@pytest.mark.parametrize("blocks", [0, 1])
@torch.inference_mode()
def test_unit_that_shares_work_between_iterations_gives_the_same_features(gate: str, blocks: int) -> None:
    unit = stir(ReasoningUnit(6, blocks, parts=Parts(gate=gate))).eval()
    x = 3 + torch.randn(2, 6, 9, 7, generator=torch.Generator().manual_seed(0))
    for expected, found in zip(unit(x, 4), FoldedUnit(unit)(x, 4), strict=True):
        assert torch.allclose(expected, found, atol=2e-5, rtol=1e-5)
    assert not torch.allclose(unit(x, 1)[0], unit(x, 2)[1], atol=1e-3), "an iteration must change something"


@torch.inference_mode()
def test_knowledge_of_zero_is_as_good_as_none() -> None:
    """Split bundles start from a state of zeros, unrolled graphs from nothing."""
    unit = FoldedUnit(stir(ReasoningUnit(6, 1)).eval())
    x = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    context = unit.context(x)
    for none, zero in zip(unit.step(x, x, None, context), unit.step(x, x, torch.zeros_like(x), context), strict=True):
        assert torch.equal(none, zero)
