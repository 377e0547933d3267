"""The one table that other rooms ask."""

from __future__ import annotations

import pytest
import torch

from nafnet_deploy.config import ARCHITECTURES as NAMES
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.registry import (
    ARCHITECTURES,
    build,
    count_parameters,
    padding_mode,
    picture,
    pictures,
    tile_overlap,
)

PLAIN = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,))
REASONING = ModelConfig(
    architecture="nafnet-rr", width=4, encoder_blocks=(1, 0), decoder_blocks=(0, 1), positions=("middle",)
)


def test_every_architecture_can_be_built() -> None:
    assert set(ARCHITECTURES) == set(NAMES)


def test_padding_as_trained() -> None:
    assert padding_mode(PLAIN) == "zeros"
    assert padding_mode(REASONING) == "reflect"


def test_overlap_grows_with_the_levels() -> None:
    assert tile_overlap(REASONING) == 32
    assert tile_overlap(ModelConfig()) == 128


@torch.inference_mode()
def test_pictures_without_asking_which_network() -> None:
    x = torch.rand(1, 3, 8, 8)
    plain, reasoning = build(PLAIN).eval(), build(REASONING).eval()
    assert len(pictures(plain, x, 1)) == 1
    assert torch.equal(pictures(plain, x, 1)[0], picture(plain, x, 1))
    assert len(pictures(reasoning, x, 3)) == 3
    assert torch.equal(pictures(reasoning, x, 3)[2], picture(reasoning, x, 3))


@pytest.mark.parametrize(("config", "iters"), [(PLAIN, 2), (PLAIN, 0), (REASONING, 0)])
def test_impossible_iterations(config: ModelConfig, iters: int) -> None:
    network, x = build(config), torch.rand(1, 3, 8, 8)
    for call in (picture, pictures):
        with pytest.raises(ConfigError, match="iterations"):
            call(network, x, iters)


def test_shared_weights_count_once() -> None:
    layer = torch.nn.Linear(3, 2)
    assert count_parameters(torch.nn.Sequential(layer, layer)) == 8
