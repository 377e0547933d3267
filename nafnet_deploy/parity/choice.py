"""Chooses the inputs of a parity check: natural, adversarial and the user's pictures, where an engine takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, size_limits
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.images.padding import pad_to, round_up
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.adversarial import ADVERSARIAL, adversarial_batch
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes

NATURAL = "natural"
ADVERSARIAL_SIZES = ((64, 64), (40, 72))
"""Heights and widths (pixels) of the adversarial pictures, before they are raised to the size multiple."""
LARGEST_PICTURE = 256
"""Of a larger user's picture, the middle of this many pixels is compared."""

Shape = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
    """One input and what it shows."""

    name: str
    """`natural`, a name of `ADVERSARIAL`, or a file's name."""
    batch: NDArray[np.float32]
    """float32 [B, C, H, W] in the value range of the network."""


def seeded_inputs(manifest: ModelManifest, sizes: Sequence[tuple[int, int]] | None = None) -> list[Input]:
    """Natural and adversarial inputs.

    Args:
        manifest: says which sizes and values the network takes; what the graph fixes stays fixed.
        sizes: heights and widths: natural ones at each and in a batch of two at the first, the others at the first;
            None takes three sizes and two batches for the natural ones and two sizes for the others.
    """
    shapes = parity_shapes(manifest)
    if sizes is not None:
        pair = parity_shapes(manifest, sizes[:1], (2,))
        shapes = list(dict.fromkeys([*parity_shapes(manifest, sizes, (1,)), *pair]))
    others = parity_shapes(manifest, ADVERSARIAL_SIZES if sizes is None else sizes[:1], (1,))
    found = [Input(NATURAL, natural_batch(shape, seed)) for seed, shape in enumerate(shapes)]
    found += [Input(name, adversarial_batch(name, shape)) for name in ADVERSARIAL for shape in others]
    return [Input(i.name, ranged(i.batch, manifest)) for i in found]


def ranged(batch: NDArray[np.float32], manifest: ModelManifest) -> NDArray[np.float32]:
    """Values in [0, 1] in the value range of the network."""
    black, white = manifest.value_range
    return batch if (black, white) == (0.0, 1.0) else batch * np.float32(white - black) + np.float32(black)


def picture_inputs(folder: Path, manifest: ModelManifest, largest: int = LARGEST_PICTURE) -> list[Input]:
    """The pictures of a folder: the middle of each, padded as a run pads it.

    Args:
        folder: holds pictures; all of them are taken.
        manifest: says which sizes and values the network takes.
        largest: side of the part that is taken of a larger picture (pixels).

    Raises:
        UsageError: the folder is missing or holds no picture.
        ImageError: one of them cannot be read.
        ConfigError: the network does not take RGB pictures.
    """
    if manifest.model.planes != 3:
        raise ConfigError(f"{manifest.name} takes {manifest.model.planes} channels.", "Leave --images out.")
    batch, _, *sides = manifest.inputs[0].shape
    copies = batch if isinstance(batch, int) else 1
    result = []
    for path in list_pictures(folder):
        pixels = read_picture(path).pixels
        most = [side if isinstance(side, int) else largest for side in sides]
        top, left = (max(have - want, 0) // 2 for have, want in zip(pixels.shape[:2], most, strict=True))
        part = pixels[top : top + most[0], left : left + most[1]].transpose(2, 0, 1)
        height, width = (
            side if isinstance(side, int) else round_up(have, manifest.size_multiple)
            for side, have in zip(sides, part.shape[1:], strict=True)
        )
        padded = ranged(pad_to(part, height, width, manifest.padding).astype(np.float32), manifest)
        result.append(Input(path.name, np.ascontiguousarray(np.repeat(padded[None], copies, axis=0))))
    return result


def taken_by(engine: Engine, inputs: Iterable[Input]) -> list[Input]:
    """The inputs whose shapes an engine takes: those inside a profile of a plan, all of any other engine."""
    profiles = getattr(engine, "profiles", ())
    name = engine.inputs[0].name
    return [i for i in inputs if not profiles or any(taken[name].holds(i.batch.shape) for taken in profiles)]


def smallest_input(engine: Engine, manifest: ModelManifest) -> Input:
    """A natural picture of the smallest size an engine takes, for a plan that takes none of the usual ones."""
    limits = size_limits(engine)
    sizes = ((32, 32),) if limits is None else (limits.smallest,)
    return Input(NATURAL, ranged(natural_batch(parity_shapes(manifest, sizes, (1,))[0], 0), manifest))
