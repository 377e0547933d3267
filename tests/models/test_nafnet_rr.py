"""The recurrence of NAFNet-RR: shared weights, a carried state, any N, every iteration obtainable."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor

from nafnet_deploy.config import POSITIONS, ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.nafnet_rr import NAFNetRR
from nafnet_deploy.models.reasoning import ReasoningUnit
from nafnet_deploy.models.registry import count_parameters
from tests.weights import stir

COMBINATIONS = [c for n in (1, 2, 3) for c in combinations(POSITIONS, n)]


def small(positions: tuple[str, ...], units: int = 1, iterations: int = 2) -> NAFNetRR:
    torch.manual_seed(0)
    network = NAFNetRR(
        ModelConfig(
            architecture="nafnet-rr",
            width=8,
            encoder_blocks=(1, 1),
            middle_blocks=1,
            decoder_blocks=(1, 1),
            positions=positions,
            reasoning_blocks=units,
            iterations=iterations,
        )
    )
    stir(network)
    return network.eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("positions", COMBINATIONS, ids="+".join)
@torch.inference_mode()
def test_every_iteration_is_what_the_network_gives_at_that_number(positions: tuple[str, ...], x: Tensor) -> None:
    network = small(positions)
    alone = [network(x, n) for n in range(1, 6)]
    for total in range(1, 6):
        together = network.forward_all(x, total)
        assert len(together) == total
        for n, restored in enumerate(together):
            torch.testing.assert_close(restored, alone[n], rtol=0, atol=1e-6)
    for before, after in pairwise(alone):
        assert (before - after).abs().max() > 1e-6  # every iteration changes the picture


@torch.inference_mode()
def test_default_iterations_are_the_configurations(x: Tensor) -> None:
    network = small(("middle",), iterations=3)
    assert torch.equal(network(x), network(x, 3))
    assert len(network.forward_all(x)) == 3


@pytest.mark.parametrize("positions", COMBINATIONS, ids="+".join)
def test_weights_are_shared_by_all_iterations(positions: tuple[str, ...]) -> None:
    one, five = small(positions, iterations=1), small(positions, iterations=5)
    assert count_parameters(one) == count_parameters(five)
    assert one.state_dict().keys() == five.state_dict().keys()


@torch.inference_mode()
def test_state_is_carried() -> None:
    torch.manual_seed(0)
    unit = stir(ReasoningUnit(8))
    assert isinstance(unit, ReasoningUnit)
    x = torch.randn(1, 8, 6, 6)
    h1, k1 = unit.step(x, x, torch.zeros_like(x))
    h2, _ = unit.step(x, h1, k1)
    forgetful, _ = unit.step(x, h1, torch.zeros_like(k1))
    assert (h2 - h1).abs().max() > 1e-4
    assert (h2 - forgetful).abs().max() > 1e-4  # the knowledge base matters, not only the features
    first, second = unit(x, 2)
    assert torch.equal(first, h1)
    assert torch.equal(second, h2)


@torch.inference_mode()
def test_closed_gate_keeps_the_knowledge() -> None:
    unit = ReasoningUnit(4)
    unit.update.weight.zero_()
    unit.update.bias.copy_(torch.tensor([5.0] * 4 + [-1e4] * 4))  # reasoning 5, gate shut
    x, k = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    h, kept = unit.step(x, x, k)
    assert torch.equal(kept, k)
    assert torch.equal(h, x + k)


@pytest.mark.parametrize("units", [0, 1, 2])
def test_gradients_reach_every_parameter(units: int, x: Tensor) -> None:
    network = small(POSITIONS, units)
    sum(picture.square().mean() for picture in network.forward_all(x, 2)).backward()  # type: ignore[union-attr]
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@pytest.mark.parametrize("iters", [0, -1])
def test_impossible_iterations(iters: int, x: Tensor) -> None:
    with pytest.raises(ConfigError, match="iterations"):
        small(("middle",))(x, iters)
