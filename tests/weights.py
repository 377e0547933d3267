"""Random weights for tests."""

from __future__ import annotations

import torch
from torch import nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.registry import build


def seeded(config: ModelConfig, seed: int = 0) -> nn.Module:
    """A network whose initial weights are the same at every call; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)


def stir(network: nn.Module, seed: int = 0) -> nn.Module:
    """Gives norms, beta, gamma and DO-Conv's D random values, so that nothing is the identity; returns the network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            leaf = name.rsplit(".", 2)
            if leaf[-1] in ("beta", "gamma", "D") or leaf[-2].startswith("norm"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network
