"""What the export measures about tiles and states in the manifest: how large they must be, and how far they overlap."""

from __future__ import annotations

import dataclasses

import numpy as np

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.inputs import NOISE
from nafnet_deploy.parity.tiles import compare_tiles, tile_picture
from nafnet_deploy.parity.tolerance import TileLimits
from nafnet_deploy.runtime.restorer import Restorer

LADDER = ((NOISE, (96, 192)), (0.0, (96, 192, 384)))
"""Noise, and sides of tiles (pixels), in the order in which they are tried."""
MARGIN = 3.0
"""How far above the limit a tile must be (dB) to be stated: the self-test takes another picture."""
REACH_LIMIT = 0.2 / 255
"""What lies beyond the reach may change a pixel by this much, root mean square (a fifth of an 8-bit step). Half a step
left a band along the borders that shows when the difference from the whole picture is amplified 64 times."""
_REACH_SIDE = 128
_SEEDS = (21, 22)


def measure_tiles(engine: Engine, manifest: ModelManifest, limits: TileLimits) -> ModelManifest:
    """The manifest with the overlap, the smallest tile that agrees with the whole picture, and the noise up to which.

    Args:
        engine: the network; takes any height and width.
        manifest: its contract, whose facts about tiles are replaced.
        limits: those of the self-test.

    Where no tile of the ladder agrees, its last one is stated, and the self-test fails.
    """
    for noise, sides in LADDER:
        manifest = dataclasses.replace(
            manifest, tile_overlap=measure_overlap(engine, manifest, noise), tile_noise=noise
        )
        for tile in sides:
            side = round_up(tile, manifest.size_multiple)
            manifest = dataclasses.replace(manifest, tile_least=side)
            if 2 * manifest.tile_overlap > side:
                continue
            if all(_agrees(engine, manifest, side, seed, limits) for seed in _SEEDS):
                return manifest
    return manifest


def _agrees(engine: Engine, manifest: ModelManifest, side: int, seed: int, limits: TileLimits) -> bool:
    picture = tile_picture(side + side // 2, 2 * side, manifest, seed, manifest.tile_noise)
    lowest, worst = compare_tiles(engine, manifest, side, [picture])
    return lowest >= limits.min_psnr + MARGIN and worst <= limits.max_seam


def measure_overlap(engine: Engine, manifest: ModelManifest, noise: float = NOISE) -> int:
    """The overlap that tiles need (pixels): twice the distance over which the far side of a border is felt.

    Behind the border, the right two thirds of a picture are rolled by half their height, so that everything there
    is another picture of nearly the same statistics. What global means do with the small difference is felt equally
    everywhere and no overlap would mend it: the reach ends where the change is no more than that level and
    `REACH_LIMIT`. With twice the reach, both tiles are right in the middle of their overlap, where they have equal
    weight.
    """
    side, scale = round_up(_REACH_SIDE, manifest.size_multiple), manifest.scale
    whole = Restorer(engine, manifest, tile="off")
    changes = []
    for seed in _SEEDS:
        picture = tile_picture(side, 3 * side, manifest, seed, noise)
        other = picture.copy()
        other[:, side:] = np.roll(picture[:, side:], side // 2, axis=0)
        change = (whole(other) - whole(picture))[:, : side * scale] ** 2
        changes.append(change.reshape(side * scale, side, scale, 3).mean(axis=(0, 2, 3))[::-1])
    span = manifest.value_range[1] - manifest.value_range[0]
    felt = np.sqrt(np.mean(changes, axis=0))  # by distance from the border
    beyond = np.flatnonzero(felt > felt[side // 2 :].max() + REACH_LIMIT * span)
    reach = int(beyond[-1]) + 1 if beyond.size else 0
    return round_up(max(2 * reach, 1), manifest.size_multiple)
