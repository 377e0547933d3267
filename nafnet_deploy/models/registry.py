"""Every architecture in one table, so that no other room asks which network it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.all_in_one import AllInOne
from nafnet_deploy.models.nafnet import NAFNet
from nafnet_deploy.models.nafnet_rr import NAFNetRR, check_iterations
from nafnet_deploy.models.nafssr import NAFSSR
from nafnet_deploy.models.restormer import Restormer


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the rest of the toolkit needs to know about a kind of network."""

    network: Callable[[ModelConfig], nn.Module]
    """The module; takes a `ModelConfig`."""
    padding: str
    """How a picture reaches the size multiple, right and bottom: `zeros` (as published) or `reflect`."""
    overlap: int = 8
    """Advised overlap of neighbouring tiles, in pixels of the coarsest level."""


ARCHITECTURES = {
    "nafnet": Architecture(NAFNet, "zeros"),
    "nafnet-rr": Architecture(NAFNetRR, "reflect"),
    "nafssr": Architecture(NAFSSR, "zeros", 32),
    "restormer": Architecture(Restormer, "reflect", 16),
    "all-in-one": Architecture(AllInOne, "reflect", 16),
}


def build(config: ModelConfig) -> nn.Module:
    """The network of a configuration with PyTorch's initial weights, in training mode."""
    return ARCHITECTURES[config.architecture].network(config)


def count_parameters(module: nn.Module) -> int:
    """Number of scalar weights; a shared weight counts once."""
    return sum(p.numel() for p in module.parameters())


def padding_mode(config: ModelConfig) -> str:
    """How a picture reaches `config.size_multiple`: `zeros` or `reflect`."""
    return ARCHITECTURES[config.architecture].padding


def tile_overlap(config: ModelConfig) -> int:
    """Advised overlap of neighbouring tiles where nothing was measured (pixels): some pixels of the coarsest level.

    Each level doubles the pixels behind one feature, so the reach of a network with L levels grows as 2^L:
    32 px for two levels of a U-Net, 128 px for four. The export measures it where it can: `parity.tile_facts`.
    """
    return ARCHITECTURES[config.architecture].overlap * config.size_multiple


def pictures(module: nn.Module, x: Tensor, iters: int, tasks: Tensor | None = None) -> list[Tensor]:
    """The restored pictures of iterations 1..`iters`, each [B, planes, s H, s W] of `x`, s the network's scale.

    Args:
        module: a network made by `build`.
        x: pictures in [0, 1]; H and W multiples of the network's `size_multiple`.
        iters: reasoning iterations N; 1 for a network without reasoning.
        tasks: what was done to each picture, as `AllInOne.forward` takes it; only a network with experts asks.

    Raises:
        ConfigError: `iters` below 1, or above 1 for a network without reasoning.
    """
    if isinstance(module, NAFNetRR):
        return module.forward_all(x, iters)
    if isinstance(module, AllInOne) and tasks is not None:
        check_iterations(iters)
        return [module(x, tasks)]
    return [picture(module, x, iters)]


def picture(module: nn.Module, x: Tensor, iters: int) -> Tensor:
    """The restored picture of iteration `iters` alone; arguments and errors as in `pictures`."""
    check_iterations(iters)
    restored: Tensor
    if isinstance(module, NAFNetRR):
        restored = module(x, iters)
    elif iters == 1:
        restored = module(x)
    else:
        raise ConfigError(f"{iters} iterations: this network has no reasoning to repeat.", "Use --iters 1.")
    return restored
