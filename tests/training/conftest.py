"""A tiny preset, pictures to train on and a recipe for both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy import presets
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.training.recipe import DataConfig, Recipe, ScheduleConfig, ValidationConfig
from tests.training.trainee import TINY


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "tiny", presets.Preset(TINY, "denoising", "for tests"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        pixels = natural_batch((1, 3, 48, 64), seed)[0].transpose(1, 2, 0)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


def recipe_for(pictures: Path, steps: int = 6, every: int = 3) -> Recipe:
    return Recipe(
        name="tiny",
        preset="tiny",
        data=DataConfig(train=str(pictures), val=str(pictures), crop=16, batch=2),
        schedule=ScheduleConfig(steps=steps, warmup=2, lr=2e-3, iterations=2),
        validation=ValidationConfig(every=every, degradation=Degradation(sigma=(25, 25))),
    )
