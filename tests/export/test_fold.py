"""Folding changes the form of a network, not what it computes."""

import pytest
import torch

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.blocks import FoldedBlock, FoldedUnit
from nafnet_deploy.export.fold import fold
from nafnet_deploy.models.blocks import NAFBlock
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
