"""Every preset's family, made tiny: a gradient reaches each of its parameters."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.registry import pictures
from nafnet_deploy.presets import PRESETS
from tests.weights import seeded


def tiny(config: ModelConfig) -> ModelConfig:
    """The same parts at a fraction of the size, one block where there were more."""
    return dataclasses.replace(
        config,
        width=16,
        encoder_blocks=tuple(min(n, 1) for n in config.encoder_blocks),
        middle_blocks=1,
        decoder_blocks=tuple(min(n, 1) for n in config.decoder_blocks),
        refinement_blocks=min(config.refinement_blocks, 1),
        iterations=min(config.iterations, 2),
    )


FAMILIES = {tiny(preset.config): name for name, preset in reversed(PRESETS.items())}


@pytest.mark.parametrize("config", FAMILIES, ids=FAMILIES.values())
def test_no_parameter_stays_without_gradient(config: ModelConfig) -> None:
    """The first steps move beta and gamma off 0; what is still silent after some more never learns."""
    network = seeded(config)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    side = 2 * config.size_multiple
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(1, config.planes, side, side, generator=generator)
    y = torch.rand(1, config.planes, config.scale * side, config.scale * side, generator=generator)
    silent = {name for name, _ in network.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        torch.stack([(p - y).square().mean() for p in pictures(network, x, config.iterations)]).sum().backward()
        silent -= {n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}
        optimizer.step()
    assert sorted(silent) == []
