"""Each degradation against its definition, its ranges, and the generator that drives it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nafnet_deploy.data.degradations import TYPES, Degradation, motion_kernel
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.inputs import natural_batch

CLEAN = np.ascontiguousarray(natural_batch((1, 3, 64, 80), 0)[0].transpose(1, 2, 0))


def degrade(seed: int = 0, **fields: object) -> np.ndarray:
    return Degradation(**fields)(CLEAN, np.random.default_rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TYPES)
def test_same_generator_same_picture_and_another_one_differs(kind: str) -> None:
    first, again, other = (degrade(seed, type=kind) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == CLEAN.shape
    assert first.dtype == np.float32
    assert psnr(np.clip(first, 0, 1), CLEAN) < 45


@pytest.mark.parametrize("kind", [t for t in TYPES if t != "noise"])
def test_all_but_noise_give_what_an_8_bit_file_holds(kind: str) -> None:
    degraded = degrade(type=kind) * 255
    assert np.abs(degraded - np.round(degraded)).max() < 1e-4
    assert degraded.min() >= 0
    assert degraded.max() <= 255


def test_noise_has_the_stated_deviation_and_is_not_clipped() -> None:
    noise = degrade(type="noise", sigma=(50, 50)) - CLEAN
    assert noise.std() * 255 == pytest.approx(50, rel=0.03)
    assert abs(noise.mean()) * 255 < 2
    assert degrade(type="noise", sigma=(50, 50)).min() < 0


def test_jpeg_is_pillow_s_own_at_that_quality() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.round(CLEAN * 255).astype(np.uint8)).save(buffer, "JPEG", quality=40)
    expected = np.asarray(Image.open(buffer), np.float32) / 255
    assert np.abs(degrade(type="jpeg", quality=(40, 40)) - expected).max() < 1e-6


@given(length=st.floats(1, 40), angle=st.floats(0, np.pi))
@settings(max_examples=100, deadline=None)
def test_motion_kernel_keeps_brightness_and_place_and_has_its_length(length: float, angle: float) -> None:
    kernel = motion_kernel(length, angle).astype(float)
    ticks = np.arange(len(kernel)) - len(kernel) // 2
    assert len(kernel) % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.min() >= 0
    centre = (kernel.sum(0) @ ticks, kernel.sum(1) @ ticks)
    assert np.abs(centre).max() < 1e-4
    # A uniform path of length l has the variance l^2 / 12; sharing between pixels adds at most 1/4 per axis.
    spread = kernel.sum(0) @ ticks**2 + kernel.sum(1) @ ticks**2
    uniform = (length - 1) ** 2 / 12
    assert uniform - 0.1 <= spread <= uniform * 1.1 + 0.51


def test_horizontal_motion_is_the_mean_of_the_neighbours() -> None:
    kernel = motion_kernel(7, 0.0)
    row = kernel[len(kernel) // 2]
    assert row.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(row > 0.1) >= 5


def test_blur_leaves_a_flat_picture_flat() -> None:
    flat = np.full((32, 32, 3), 0.5, np.float32)
    for kind in ("motion", "blur"):
        assert np.abs(Degradation(type=kind)(flat, np.random.default_rng(0)) - 128 / 255).max() < 3e-3


def test_combination_always_strikes() -> None:
    for seed in range(20):
        assert not np.array_equal(degrade(seed, type="combined", share=0.0), CLEAN)


@pytest.mark.parametrize("kind", ["motion", "blur", "scale", "jpeg"])
def test_a_crop_with_its_margin_is_degraded_as_the_whole_picture_is(kind: str) -> None:
    settings = Degradation(type=kind, motion=(9, 9), blur_sigma=(1, 1), scale=(0.5, 0.5), quality=(80, 80))
    margin = -(-settings.margin // 16) * 16  # on the block grid of JPEG and of the halved picture
    assert margin <= 32
    whole = settings(CLEAN, np.random.default_rng(3))
    part = settings(CLEAN[: 32 + margin], np.random.default_rng(3))
    assert np.abs(whole[:32] - part[:32]).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_what_lies_beyond_the_margin_of_scaling_changes_a_crop_by_a_rounding_at_most(factor: float) -> None:
    settings = Degradation(type="scale", scale=(factor, factor))
    harsh = np.random.default_rng(0).random((160, 160, 3), dtype=np.float32)
    inside, wide = slice(48, 112), slice(48 - settings.margin, 112 + settings.margin)
    whole = settings(harsh, np.random.default_rng(3))
    part = settings(harsh[wide, wide], np.random.default_rng(3))
    middle = slice(settings.margin, settings.margin + 64)
    assert np.abs(whole[inside, inside] - part[middle, middle]).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "blurr"}, "blur"),
        ({"sigma": (20, 5)}, "sigma"),
        ({"sigma": (-1, 5)}, "sigma"),
        ({"quality": (0, 50)}, "quality"),
        ({"scale": (0, 0.5)}, "scale"),
        ({"scale": (0.5, 2)}, "scale"),
        ({"share": 1.5}, "share"),
    ],
)
def test_impossible_ranges_are_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Degradation(**fields)  # type: ignore[arg-type]
