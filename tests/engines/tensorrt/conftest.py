"""Real exports, made once for the tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.models.registry import build
from nafnet_deploy.presets import preset
from tests.exports import quick_export
from tests.weights import seeded, stir

SMALL = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("middle",),
    iterations=3,
)


@pytest.fixture(scope="session")
def rtx() -> Any:
    """The library."""
    return load_library("tensorrt-rtx")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A NAFNet-RR of width 8 with a unit in the middle, three iterations, dynamic."""
    checkpoint = Checkpoint(stir(build(SMALL)).state_dict(), SMALL, "small", "", {"source": "test"})
    return quick_export(checkpoint, ExportRecipe(output=str(tmp_path_factory.mktemp("small"))))


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The light preset with five iterations, random in every norm and scale: `dynamic`, and `fixed` at 64x64."""
    config, folder = preset("light").config, tmp_path_factory.mktemp("light")
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "light", "", {"source": "test"})
    return {
        name: quick_export(checkpoint, ExportRecipe(iterations=5, imgsz=size, batch=batch, output=str(folder)))
        for name, size, batch in (("dynamic", "dynamic", "dynamic"), ("fixed", "64", 1))
    }
