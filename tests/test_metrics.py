"""Metrics against scikit-image and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nafnet_deploy.errors import ImageError
from nafnet_deploy.metrics import luma, max_abs_error, mean_abs_error, psnr, psnr_y, ssim, ssim_y


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


def oracle(a: np.ndarray, b: np.ndarray, data_range: float = 1.0, channel_axis: int | None = 2) -> float:
    result = structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=data_range,
        channel_axis=channel_axis,
    )
    return float(result)


SIDES = st.integers(11, 90)


@given(height=SIDES, width=SIDES, seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 2), smooth=st.booleans())
def test_ssim_is_that_of_scikit_image(height: int, width: int, seed: int, noise: float, smooth: bool) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 1, (height, width, 3))
    if smooth:  # flat pictures are where variances come from differences of nearly equal numbers
        a = np.broadcast_to(a[:1, :1], a.shape)
    b = a + noise * rng.standard_normal(a.shape)
    assert ssim(a, b) == pytest.approx(oracle(a, b), abs=1e-9)
    assert ssim(a[..., 0], b[..., 0]) == pytest.approx(oracle(a[..., 0], b[..., 0], channel_axis=None), abs=1e-9)


def test_ssim_of_a_large_float32_picture_and_of_bytes_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 1, (321, 481, 3)).astype(np.float32)
    b = (a + 0.1 * rng.standard_normal(a.shape)).clip(0, 1).astype(np.float32)
    assert ssim(a, b) == pytest.approx(oracle(a.astype(np.float64), b.astype(np.float64)), abs=1e-12)
    assert ssim(a, b) == pytest.approx(oracle(a, b), abs=1e-6)
    a, b = (np.rint(p * 255).astype(np.uint8) for p in (a, b))
    assert ssim(a, b, 255) == pytest.approx(oracle(a, b, 255), abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), height=SIDES, width=SIDES)
def test_luma_and_what_is_measured_on_it_are_those_of_scikit_image(seed: int, height: int, width: int) -> None:
    a, b = np.random.default_rng(seed).uniform(0, 1, (2, height, width, 3))
    y_a, y_b = (rgb2ycbcr(p)[..., 0] for p in (a, b))
    np.testing.assert_allclose(255 * luma(a), y_a, atol=1e-10)
    assert psnr_y(a, b) == pytest.approx(peak_signal_noise_ratio(y_a, y_b, data_range=255), abs=1e-9)
    assert ssim_y(a, b) == pytest.approx(oracle(y_a, y_b, 255, None), abs=1e-9)


def test_ssim_knows_equal_inverted_and_broken_pictures() -> None:
    a = np.random.default_rng(0).uniform(0, 1, (24, 30, 3))
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ssim(a, 1 - a) < 0
    broken = a.copy()
    broken[3, 3] = np.nan
    assert math.isnan(ssim(a, broken))
    broken[3, 3] = np.inf
    assert math.isnan(ssim(a, broken))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ((20, 20, 3), (20, 21, 3), "cannot be compared"),
        ((20,), (20,), "cannot be compared"),
        ((1, 20, 20, 3), (1, 20, 20, 3), "cannot be compared"),
        ((10, 40, 3), (10, 40, 3), "40x10 pixels is too small"),
        ((40, 10), (40, 10), "10x40 pixels is too small"),
    ],
)
def test_shapes_that_have_no_ssim(a: tuple[int, ...], b: tuple[int, ...], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        ssim(np.zeros(a), np.zeros(b))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4)])
def test_shapes_that_have_no_luma(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="luma"):
        luma(np.zeros(shape))
