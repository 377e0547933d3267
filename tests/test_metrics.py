"""Metrics against scikit-image and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from nafnet_deploy.errors import ImageError
from nafnet_deploy.metrics import max_abs_error, mean_abs_error, psnr


@pytest.mark.parametrize(("dtype", "data_range"), [(np.float32, 1.0), (np.float64, 1.0), (np.uint8, 255.0)])
def test_psnr_is_that_of_scikit_image(dtype: type, data_range: float) -> None:
    rng = np.random.default_rng(0)
    a, b = ((rng.uniform(0, 1, (2, 3, 17, 23)) * data_range).astype(dtype) for _ in range(2))
    assert psnr(a, b, data_range) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=data_range), abs=1e-5)


def test_equal_pictures_are_infinitely_close() -> None:
    assert psnr(np.ones((2, 2)), np.ones((2, 2))) == math.inf


def test_values_that_are_not_finite_never_pass() -> None:
    good, nan, inf = np.zeros(4), np.array([0, np.nan, 0, 0]), np.array([0, np.inf, 0, 0])
    assert math.isnan(psnr(good, nan))
    assert math.isnan(psnr(nan, nan))
    assert math.isnan(psnr(inf, inf))
    assert psnr(good, inf) == -math.inf
    assert math.isnan(max_abs_error(good, nan))
    assert math.isnan(mean_abs_error(good, nan))


def test_absolute_errors_do_not_wrap_in_uint8() -> None:
    a, b = np.array([0, 10], np.uint8), np.array([255, 10], np.uint8)
    assert max_abs_error(a, b) == 255
    assert mean_abs_error(a, b) == 127.5


@pytest.mark.parametrize("shape", [(3, 4), (0,)])
def test_shapes_that_cannot_be_compared(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="cannot be compared"):
        psnr(np.zeros((4, 3) if shape != (0,) else shape), np.zeros(shape))
