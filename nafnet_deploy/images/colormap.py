"""Numbers as colours that grow evenly brighter to the eye, also in grey and for the colour-blind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Ten evenly spaced colours of viridis (van der Walt and Smith, 2015, CC0).
_ANCHORS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
_COLOURS = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS.split()], np.float64)


def colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values [...] from 0 (dark violet) to 1 (yellow) as RGB uint8 [..., 3]; beyond them the end colours."""
    place = np.clip(values, 0, 1) * (len(_COLOURS) - 1)
    positions = np.arange(len(_COLOURS))
    channels = [np.interp(place, positions, _COLOURS[:, i]) for i in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), np.uint8)
