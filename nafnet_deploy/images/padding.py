"""Padding to a size that a network takes, and back."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError

Scalar = TypeVar("Scalar", bound=np.generic)
_NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "zeros": "constant"}


def round_up(length: int, multiple: int) -> int:
    """The smallest multiple that is not below `length`."""
    return -(-length // multiple) * multiple


def pad_to(array: NDArray[Scalar], height: int, width: int, mode: str) -> NDArray[Scalar]:
    """Pads [..., H, W] at the bottom and the right to [..., height, width].

    Args:
        array: any number of leading dimensions; H and W may be as small as 1.
        height: rows wanted, at least H.
        width: columns wanted, at least W.
        mode: `reflect` (mirrored without repeating the edge, as often as needed; a single row or column is
            repeated) or `zeros`.

    Raises:
        ConfigError: the mode is unknown.
    """
    if mode not in _NUMPY_MODES:
        raise ConfigError(f"the padding {mode!r} is unknown.", f"Use one of {', '.join(_NUMPY_MODES)}.")
    below, right = height - array.shape[-2], width - array.shape[-1]
    if below == right == 0:
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, below), (0, right)], mode=_NUMPY_MODES[mode])


def pad_to_multiple(array: NDArray[Scalar], multiple: int, mode: str) -> NDArray[Scalar]:
    """Pads [..., H, W] at the bottom and the right so that both sides are multiples; see `pad_to`."""
    return pad_to(array, round_up(array.shape[-2], multiple), round_up(array.shape[-1], multiple), mode)


def crop(array: NDArray[Scalar], height: int, width: int) -> NDArray[Scalar]:
    """The top left [..., height, width] of [..., H, W], a view: what was there before padding."""
    return array[..., :height, :width]
