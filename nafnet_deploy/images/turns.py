"""The 8 flips and turns of a picture, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Turn = tuple[int, bool]
"""Quarter turns, and whether the picture is mirrored before them."""
TURNS: tuple[Turn, ...] = tuple((quarters, mirror) for mirror in (False, True) for quarters in range(4))
"""The views of an ensemble (Timofte et al., "Seven ways to improve example-based single image super resolution",
CVPR 2016)."""


def turned(picture: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """A view of [H, W, C], mirrored and turned."""
    quarters, mirror = turn
    return np.rot90(picture[:, ::-1] if mirror else picture, quarters)


def back(picture: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """A view that undoes `turned`."""
    quarters, mirror = turn
    upright = np.rot90(picture, -quarters)
    return upright[:, ::-1] if mirror else upright
