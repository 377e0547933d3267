"""Distances between pictures. Pure NumPy, computed in float64 whatever the input's type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ImageError


def psnr(a: NDArray[Any], b: NDArray[Any], data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / MSE), with the MSE over all values of the arrays.

    Args:
        a, b: arrays of the same shape, any layout.
        data_range: white minus black, e.g. 1.0 or 255.

    Returns:
        Decibels; infinite for equal arrays; NaN when either holds a NaN, so that no `>=` check can pass.

    Raises:
        ImageError: the shapes differ or are empty.
    """
    difference = _difference(a, b)
    mse = float(np.mean(np.square(difference, out=difference)))
    if mse == 0.0:
        return math.inf
    if not math.isfinite(mse):
        return -mse  # an infinite error is -inf dB; NaN stays NaN
    return 10.0 * math.log10(data_range**2 / mse)


def max_abs_error(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest |a - b|; NaN when either holds a NaN. `ImageError` when the shapes differ or are empty."""
    return float(np.max(np.abs(_difference(a, b))))


def mean_abs_error(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Mean |a - b|; NaN when either holds a NaN. `ImageError` when the shapes differ or are empty."""
    return float(np.mean(np.abs(_difference(a, b))))


def _difference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    if a.shape != b.shape or a.size == 0:
        raise ImageError(
            f"pictures of shapes {a.shape} and {b.shape} cannot be compared.",
            "Give two pictures of the same size.",
        )
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is the answer we want
        difference: NDArray[np.float64] = np.subtract(a, b, dtype=np.float64)
    return difference
