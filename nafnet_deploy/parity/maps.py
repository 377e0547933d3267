"""Pictures of where the error sits: per link and iteration, the worst input of each kind."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.images.colormap import colours
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.parity.adversarial import ADVERSARIAL
from nafnet_deploy.parity.choice import NATURAL
from nafnet_deploy.parity.compare import Difference
from nafnet_deploy.parity.golden import GOLDEN, Case
from nafnet_deploy.parity.report import size

DECADES = 4
"""An error of the limit is the brightest colour; one this many powers of ten below it is the darkest."""
LARGEST = 192
"""Side of a map (pixels); of a larger picture each pixel is the worst of its block."""
KINDS = ("given pictures", "seeded pictures", "adversarial pictures")
"""Kinds of input, in the order in which they are shown."""
_NOT_FINITE = (255, 0, 200)


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorMap:
    """The worst comparison of one link at one iteration, over one kind of input."""

    words: str
    """Which input it was, and how far it is off."""
    input: NDArray[np.uint8]
    """The input [h, w, 3]."""
    error: NDArray[np.float64]
    """Largest error of the channels [h, w]; `error_colours` paints it."""
    rank: float
    """Its largest error; infinite where it could not be compared."""


class MapCollector:
    """Keeps an `ErrorMap` per link, iteration and kind of input; pass it as `on_pair`.

    Args:
        manifest: says what is black and what is white.
    """

    def __init__(self, manifest: ModelManifest) -> None:
        self._range = manifest.value_range
        self.maps: dict[tuple[str, str, int], ErrorMap] = {}
        """(link, one of `KINDS`, iteration) -> map."""

    def __call__(self, link: str, n: int, case: Case, picture: NDArray[Any], found: Difference) -> None:
        """See `walk.OnPair`."""
        rank = np.inf if found.max_abs_error is None else found.max_abs_error
        given = case.name not in (GOLDEN, NATURAL)
        key = link, KINDS[2] if case.name in ADVERSARIAL else KINDS[0] if given else KINDS[1], n
        kept = self.maps.get(key)
        reference = case.pictures[n - 1]
        if (kept is not None and kept.rank >= rank) or picture.shape != reference.shape:
            return
        with np.errstate(invalid="ignore"):
            error = np.abs(np.subtract(picture, reference, dtype=np.float64)).max(axis=1)
        row = int(np.argmax(np.nan_to_num(error, nan=np.inf).reshape(len(error), -1).max(axis=1)))
        black, white = self._range
        shown = np.clip((case.batch[row].transpose(1, 2, 0) - black) / (white - black), 0, 1)
        if shown.shape[2] != 3:
            shown = np.repeat(shown.mean(axis=2, keepdims=True), 3, axis=2)
        step = -(-max(shown.shape[:2]) // LARGEST)
        amount = "not finite" if np.isinf(rank) else f"largest error {rank:.1e}"
        self.maps[key] = ErrorMap(
            words=f"{case.name or 'input'}, {size(case.batch.shape)}, {amount}",
            input=np.rint(255 * np.nan_to_num(shown[::step, ::step])).astype(np.uint8),
            error=_blocks(error[row]),
            rank=float(rank),
        )


def error_colours(error: NDArray[np.float64], limit: float) -> NDArray[np.uint8]:
    """Errors [h, w] as RGB [h, w, 3]: `limit` and more the brightest, `DECADES` powers of ten below it the darkest.

    Magenta where a value is not finite.
    """
    finite = np.isfinite(error)
    with np.errstate(divide="ignore"):
        place = 1 + np.log10(np.where(finite, error, 1.0) / limit) / DECADES
    painted = colours(place)
    painted[~finite] = _NOT_FINITE
    return painted


def _blocks(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """The worst of each block, so that a lone pixel survives; NaN wins over every number."""
    step = -(-max(error.shape) // LARGEST)
    down, right = (-side % step for side in error.shape)
    padded = np.pad(error, ((0, down), (0, right)), mode="edge")
    height, width = (side // step for side in padded.shape)
    blocks: NDArray[np.float64] = padded.reshape(height, step, width, step).max(axis=(1, 3))
    return blocks
