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
    "super-resolution": (128, 5, {"encoder", "middle", "decoder"}),
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


def test_every_preset_is_described() -> None:
    assert all(p.description for p in PRESETS.values())
    assert "same size" in preset("super-resolution").description


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        preset("lihgt")
    assert "'lihgt'" in error.value.message
    assert error.value.mend == "Did you mean 'light'?"
