"""Distances between pictures. Pure NumPy, computed in float64 whatever the input's type.

SSIM is that of Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity", IEEE Transactions on Image Processing 13(4), 2004, with the window and constants of its section III.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ImageError

WINDOW = 11
"""Side of SSIM's Gaussian window (pixels); a smaller picture has no position where it fits."""
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
_BAND = 32
_CHUNK = 2**22
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_BLACK = 16 / 255


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
    _check_shapes(a, b)
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    rows = max(_CHUNK * len(a) // a.size, 1)
    total = 0.0
    for top in range(0, len(a), rows):  # a float64 copy of a 50-megapixel picture is 1.2 GB
        difference = _difference(a[top : top + rows], b[top : top + rows])
        total += float(np.sum(np.square(difference, out=difference)))
    mse = total / a.size
    if mse == 0.0:
        return math.inf
    if not math.isfinite(mse):
        return -mse  # an infinite error is -inf dB; NaN stays NaN
    return 10.0 * math.log10(data_range**2 / mse)


def ssim(a: NDArray[Any], b: NDArray[Any], data_range: float = 1.0) -> float:
    """Structural similarity (Wang et al. 2004, equation 13): 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03.

    Means, variances and covariance are those of the window's weights, without the correction for a sample; the map
    is averaged over the positions where the whole window lies inside the picture, and over the channels.

    Args:
        a, b: pictures of the same shape, [H, W] or [H, W, C], both sides 11 and more.
        data_range: white minus black, e.g. 1.0 or 255.

    Returns:
        -1 to 1; 1 for equal pictures; NaN when either holds a value that is not finite.

    Raises:
        ImageError: the shapes differ, are no picture's, or are too small for the window.
    """
    _check_shapes(a, b, (2, 3))
    if min(a.shape[:2]) < WINDOW:
        raise ImageError(
            f"a picture of {a.shape[1]}x{a.shape[0]} pixels is too small for SSIM.",
            f"Both sides must have {WINDOW} pixels or more.",
        )
    a, b = (np.moveaxis(np.atleast_3d(picture), 2, 0) for picture in (a, b))
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    total = 0.0
    rows = a.shape[1] - WINDOW + 1
    for top in range(0, rows, _BAND):  # in bands: memory stays that of a strip, and the strip stays in the cache
        band = slice(top, min(top + _BAND, rows) + WINDOW - 1)
        x, y = a[:, band].astype(np.float64), b[:, band].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            mean_x, mean_y, squares, product = _blur(np.stack([x, y, x * x + y * y, x * y]))
            means, mean_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
            similarity = (2 * means + c1) * (2 * (product - means) + c2)
            similarity /= (mean_squares + c1) * (squares - mean_squares + c2)
        total += float(similarity.sum())
    return float(total / (a.shape[0] * rows * (a.shape[2] - WINDOW + 1)))


def luma(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """The Y channel of ITU-R BT.601 in its limited range: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255.

    Args:
        rgb: [H, W, 3], 0 is black and 1 is white.

    Returns:
        [H, W], 16/255 for black and 235/255 for white. Compared with a data range of 1, as the literature does.

    Raises:
        ImageError: another shape.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(f"luma is that of an [H, W, 3] picture, not of {list(rgb.shape)}.", "Give an RGB picture.")
    return rgb @ _LUMA + _LUMA_BLACK


def psnr_y(a: NDArray[Any], b: NDArray[Any]) -> float:
    """`psnr` of the `luma` of two RGB pictures [H, W, 3] in [0, 1], with a data range of 1 (dB)."""
    return psnr(luma(a), luma(b))


def ssim_y(a: NDArray[Any], b: NDArray[Any]) -> float:
    """`ssim` of the `luma` of two RGB pictures [H, W, 3] in [0, 1], with a data range of 1."""
    return ssim(luma(a), luma(b))


def max_abs_error(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest |a - b|; NaN when either holds a NaN. `ImageError` when the shapes differ or are empty."""
    return float(np.max(np.abs(_difference(a, b))))


def mean_abs_error(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Mean |a - b|; NaN when either holds a NaN. `ImageError` when the shapes differ or are empty."""
    return float(np.mean(np.abs(_difference(a, b))))


def _difference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    _check_shapes(a, b)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is the answer we want
        difference: NDArray[np.float64] = np.subtract(a, b, dtype=np.float64)
    return difference


def _check_shapes(a: NDArray[Any], b: NDArray[Any], dimensions: tuple[int, ...] | None = None) -> None:
    if a.shape != b.shape or a.size == 0 or (dimensions is not None and a.ndim not in dimensions):
        raise ImageError(
            f"pictures of shapes {a.shape} and {b.shape} cannot be compared.", "Give two pictures of the same size."
        )


def _blur(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means under the window where it fits: [..., H, W] -> [..., H - 10, W - 10].

    One axis after the other, each as products with a small banded matrix: BLAS takes those several times faster than
    NumPy takes eleven shifted sums.
    """
    down = _banded(maps.shape[-2]) @ maps
    width = maps.shape[-1] - WINDOW + 1
    out = np.empty((*down.shape[:-1], width))
    for left in range(0, width, _BAND):
        right = min(left + _BAND, width)
        np.matmul(down[..., left : right + WINDOW - 1], _banded(right + WINDOW - 1 - left).T, out=out[..., left:right])
    return out


def _banded(length: int) -> NDArray[np.float64]:
    """[length - 10, length]: row i holds the window's weights from column i on."""
    offsets = np.arange(length)[None] - np.arange(length - WINDOW + 1)[:, None] - WINDOW // 2
    weights = np.where(np.abs(offsets) <= WINDOW // 2, np.exp(-0.5 * (offsets / _SIGMA) ** 2), 0.0)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized
