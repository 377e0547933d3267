"""What a turn of a benchmark does: the network alone, or the whole way from a decoded picture to a restored one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.runtime.restorer import Restorer

FORWARD, END_TO_END = "forward", "end-to-end"
SCOPES = {
    FORWARD: "float32 batch in memory to float32 batch in memory, copies to and from the device included",
    END_TO_END: "decoded 8-bit picture in memory to restored 8-bit picture in memory: conversion, padding, tiling and "
    "rounding included, reading, decoding, encoding and writing of files left out",
}
"""Name -> what a turn includes."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """A piece of work, ready for one engine."""

    picture: Callable[[], NDArray[np.float32]]
    """Does it once and returns what is compared between the engines."""
    timed: Callable[[], object]
    """Does it once, for the clock."""


def prepare(scope: str, shape: tuple[int, int, int, int], manifest: ModelManifest | None) -> Callable[[Engine], Turn]:
    """The work of a scope as a function of the engine; all engines get the same seeded picture.

    Args:
        scope: a key of `SCOPES`.
        shape: [B, C, H, W] (pixels); end to end takes one RGB picture of any H and W.
        manifest: contract of the graph; needed end to end.

    Raises:
        ConfigError: an unknown scope, or end to end with more than one picture, other channels or no manifest.
    """
    if scope not in SCOPES:
        raise ConfigError(f"the scope {scope!r} is unknown.", f"Use {' or '.join(SCOPES)}.")
    batch = natural_batch(shape, seed=0)
    if scope == FORWARD:

        def forward(engine: Engine) -> Turn:
            def work() -> NDArray[np.float32]:
                return restore_batch(engine, batch)

            return Turn(work, work)

        return forward
    if manifest is None or shape[:2] != (1, 3):
        raise ConfigError(f"end to end takes one RGB picture, not a batch of {list(shape)}.", "Use --scope forward.")
    image = np.rint(batch[0].transpose(1, 2, 0) * 255).astype(np.uint8)

    def whole(engine: Engine) -> Turn:
        restorer = Restorer(engine, manifest)

        def restored() -> NDArray[np.float32]:
            return restorer.in_unit_range(image.astype(np.float32) / np.float32(255))

        def encoded() -> NDArray[np.uint8]:
            steps: NDArray[np.float32] = np.rint(restored() * np.float32(255))
            return steps.astype(np.uint8)

        return Turn(restored, encoded)

    return whole
