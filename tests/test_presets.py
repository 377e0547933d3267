"""The table of named networks."""

from __future__ import annotations

import pytest
import torch

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.registry import build, count_parameters
from nafnet_deploy.presets import PRESETS, preset

REASONING = {  # width, iterations, positions: spec 2.2
    "light": (32, 2, {"middle"}),
    "medium": (64, 3, {"middle", "decoder"}),
    "heavy": (128, 5, {"encoder", "middle", "decoder"}),
    "deblurring": (64, 3, {"middle", "decoder"}),
    "denoising": (32, 4, {"middle"}),
    **{f"super-resolution-x{s}": (128, 5, {"encoder", "middle", "decoder"}) for s in (2, 3, 4)},
    "real-time": (32, 2, {"middle"}),
    "balanced": (64, 3, {"middle", "decoder"}),
    "quality": (128, 5, {"encoder", "middle", "decoder"}),
}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_presets(name: str) -> None:
    config = preset(name).config
    assert config.architecture == "nafnet-rr"
    assert (config.width, config.iterations, set(config.positions)) == REASONING[name]


@pytest.mark.parametrize(("name", "middle"), [("light", 4), ("medium", 12), ("heavy", 16)])
def test_middle_blocks(name: str, middle: int) -> None:
    assert preset(name).config.middle_blocks == middle


def test_bodies_grow() -> None:
    with torch.device("meta"):
        light, medium, heavy = (count_parameters(build(preset(n).config)) for n in ("light", "medium", "heavy"))
    assert light < 3_000_000 < medium < 9_000_000 < heavy < 36_000_000


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_super_resolution_enlarges_with_a_shuffle_behind_the_heavy_body(scale: int) -> None:
    config = preset(f"super-resolution-x{scale}").config
    with torch.device("meta"):
        network, heavy = build(config), build(preset("heavy").config)
        picture = network(torch.empty(1, 3, 16, 24), 1)
    assert picture.shape == (1, 3, 16 * scale, 24 * scale)
    tail = 3 * (scale**2 - 1) * (9 * 128 + 1)  # what the last conv gives beyond one picture
    assert count_parameters(network) == count_parameters(heavy) + tail


def test_every_preset_is_described() -> None:
    assert all(p.description for p in PRESETS.values())


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        preset("lihgt")
    assert "'lihgt'" in error.value.message
    assert error.value.mend == "Did you mean 'light'?"
