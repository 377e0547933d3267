"""Delivers the picture of every iteration as it comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.runtime.restorer import Restorer


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """A picture on its way."""

    iteration: int
    """Reasoning iterations in it."""
    pixels: NDArray[np.float32]
    """[H, W, 3], black 0 and white 1."""
    change: float
    """Estimated change by the last iteration (root mean square); of tiles, the largest."""


def progressive(restorer: Restorer, pixels: NDArray[np.float32]) -> Iterator[Stage]:
    """Restores a picture step by step: after 1, 2, ... iterations, up to the largest number of the engine's rule.

    A picture in one piece is carried on from each stage to the next. One that needs tiles starts anew for each
    stage, since the states of all its tiles would not fit into the memory either.

    Args:
        restorer: around a split bundle.
        pixels: float32 [H, W, 3], black 0 and white 1.

    Raises:
        EngineError: the engine does not run in steps, or failed.
        ImageError, ConfigError: as for a call of the restorer.
    """
    engine = restorer.engine
    if not isinstance(engine, AnytimeEngine):
        source = restorer.manifest.exported_from
        raise EngineError(
            f"{engine.name} does not run in steps.", f"Make a bundle with: nafdeploy export {source} --mode split"
        )
    rule, plan = engine.rule, restorer.plan(*pixels.shape[:2])
    if len(plan) > 1:
        for n in range(1, rule.max_iterations + 1):
            engine.rule = dataclasses.replace(rule, max_iterations=n, until_delta=None)
            try:
                picture = restorer.in_unit_range(pixels)
            finally:
                engine.rule = rule
            yield Stage(n, picture, max(outcome.change for outcome in engine.outcomes))
        return
    black, white = map(np.float32, restorer.value_range)
    ((places, batch),) = restorer.batches(pixels * (white - black) + black, plan)
    for glimpse in engine.iterate({engine.inputs[0].name: batch}):
        picture = np.clip(restorer.unpadded(glimpse.picture[0], plan, places[0]), black, white)
        yield Stage(glimpse.iteration, (picture - black) / (white - black), float(glimpse.change[0]))
