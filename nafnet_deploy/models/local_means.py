"""TLC: local means in place of global ones, so that a large picture is judged by the statistics of training crops."""

from __future__ import annotations

from torch import nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.layers import GlobalMean


def localise(network: nn.Module, config: ModelConfig, window: int) -> nn.Module:
    """Gives every global mean of a network, in place, a window that halves from level to level.

    Source: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022. The
    published NAFNets take 384, 1.5 times their training crops of 256.

    Args:
        network: made by `build`.
        config: its configuration.
        window: side of the window in pixels of the picture; 0 for global means.

    Returns:
        `network`.

    Raises:
        ConfigError: the network has no global means, or the window is less than a pixel at the coarsest level.
    """
    if window and config.architecture == "all-in-one":
        raise ConfigError(
            f"tlc = {window}: the gates of an all-in-one network also take the largest value of a whole picture, which "
            "no window stands for.",
            "Leave --tlc out.",
        )
    if window and config.attention == "none":
        raise ConfigError(f"tlc = {window}: a network with attention none has no global means.", "Leave --tlc out.")
    if window < 0 or 0 < window < config.size_multiple:
        raise ConfigError(
            f"tlc = {window} is impossible:",
            f"a network of {len(config.encoder_blocks)} levels needs a window of {config.size_multiple} pixels or "
            "more, or 0 for global means.",
        )
    for name, module in network.named_modules():
        if isinstance(module, GlobalMean):
            module.window = window >> level_of(name, config)
    return network


def level_of(name: str, config: ModelConfig) -> int:
    """How often the map of a module of that name was halved."""
    part, place, *_ = name.split(".")
    levels = len(config.encoder_blocks)
    if part == "encoders":
        return int(place)
    if part == "decoders":
        return levels - 1 - int(place)
    if part == "reasoning" and place != "middle":
        return levels - 1
    return levels
