"""What a network weighs and how much it multiplies, worked out on PyTorch's meta device: no weights, no arithmetic."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.registry import build, count_parameters, picture


@dataclasses.dataclass(frozen=True)
class Counts:
    """The two figures by which networks are compared."""

    parameters: int
    """Number of scalar weights; a shared weight counts once."""
    macs: int
    """Multiply-adds of one picture."""


def count(config: ModelConfig, height: int, width: int) -> Counts:
    """Counts the weights and the multiply-adds of convolutions and matrix products.

    PyTorch's `FlopCounterMode` counts the operations, two for each multiply-add. It passes over Fourier transforms,
    norms and activations. Blocks that repeat each other are run once and counted as often as they stand there. A
    DO-Conv has its weights of training, and the multiply-adds of the plain conv that it becomes.

    Args:
        config: the network; it runs with its own number of iterations.
        height: of the picture (pixels), a multiple of `config.size_multiple`.
        width: the same.
    """
    with torch.device("meta"):
        network = build(config)
        parameters = count_parameters(network)
        if config.do_conv:
            network = build(dataclasses.replace(config, do_conv=False))
        x = torch.empty(1, config.planes, height, width)
    repeats = _shorten(network.eval())
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        picture(network, x, config.iterations)
    by_module = counter.get_flop_counts()
    root = type(network).__name__
    left_out = sum(
        (times - 1) * sum(sum(by_module[f"{root}.{called}"].values()) for called in _called(network, name))
        for name, times in repeats.items()
    )
    return Counts(parameters, (counter.get_total_flops() + left_out) // 2)


def _shorten(network: nn.Module) -> dict[str, int]:
    """Leaves the first of every row of equal blocks, in place; its name and how many there were."""
    repeats: dict[str, int] = {}
    for name, module in list(network.named_modules()):
        if any(name.startswith(f"{block}.") for block in repeats):
            continue
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module) > 1 and _all_equal(module):
            repeats[f"{name}.0"] = len(module)
            del module[1:]
    return repeats


def _called(network: nn.Module, name: str) -> list[str]:
    """The module of that name, or its children where it is a container that nobody calls."""
    module = network.get_submodule(name)
    if isinstance(module, nn.ModuleDict | nn.ModuleList):
        return [part for child, _ in module.named_children() for part in _called(network, f"{name}.{child}")]
    return [name]


def _all_equal(blocks: nn.Sequential | nn.ModuleList) -> bool:
    """Whether the blocks have the same kind and shapes of weights, and have any."""
    kinds = {
        (type(block), tuple((key, tuple(weight.shape)) for key, weight in block.state_dict().items()))
        for block in blocks
    }
    return len(kinds) == 1 and bool(next(iter(kinds))[1])
