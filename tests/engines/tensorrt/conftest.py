"""Real exports, made once for the tests of this folder."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.presets import preset
from tests.exports import Exported
from tests.variants import RR


@pytest.fixture(scope="session")
def rtx() -> Any:
    """The library."""
    return load_library("tensorrt-rtx")


@pytest.fixture(scope="session")
def small(exported: Exported) -> Bundle:
    """A NAFNet-RR of width 8 with a unit in the middle, three iterations, dynamic."""
    return exported(dataclasses.replace(RR, positions=("middle",), iterations=3))


@pytest.fixture(scope="session")
def light(exported: Exported) -> dict[str, Bundle]:
    """The light preset with five iterations, random in every norm and scale: `dynamic`, and `fixed` at 64x64."""
    config = preset("light").config
    return {
        "dynamic": exported(config, iterations=5),
        "fixed": exported(config, iterations=5, imgsz="64", batch=1),
    }
