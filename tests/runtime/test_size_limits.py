"""A picture that an engine's plan is too small or too large for is tiled or padded, not refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nafnet_deploy.engines.base import SizeLimits
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.restorer import Restorer

PLENTY = 2**40


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((40, 60), (40, 64)),
        ((9, 7), (16, 16)),
        ((64, 96), (64, 96)),
        ((200, 60), (64, 64)),
        ((60, 200), (64, 64)),
        ((300, 300), (64, 64)),
    ],
    ids=["inside", "too small", "the largest", "too high", "too wide", "both"],
)
def test_auto_stays_inside_the_limits_of_the_engine(
    numpy_engine: type, manifest: Callable[..., ModelManifest], size: tuple[int, int], seen: tuple[int, int]
) -> None:
    engine = numpy_engine(lambda batch: 1 - batch)
    engine.size_limits = SizeLimits((16, 16), (64, 96))
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    result = Restorer(engine, manifest(), memory=PLENTY)(image)
    assert {shape[2:] for shape in engine.seen} == {seen}
    assert np.abs(result - (1 - image)).max() < 1e-6
