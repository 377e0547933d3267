"""Local means against a direct mean of every pixel's window in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.layers import GlobalMean, local_mean
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import build
from tests.variants import PLAIN, RR


def direct(x: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Every pixel's window cut out and averaged; a window that leaves the map is moved inside."""
    height, width = x.shape[2:]
    result = np.empty_like(x)
    tall, wide = min(window, height), min(window, width)
    for i in range(height):
        top = min(max(i - (tall - 1) // 2, 0), height - tall)
        for j in range(width):
            left = min(max(j - (wide - 1) // 2, 0), width - wide)
            result[:, :, i, j] = x[:, :, top : top + tall, left : left + wide].mean(axis=(2, 3))
    return result


SIZES = [(40, 56), (24, 24), (24, 40), (40, 24), (10, 50), (50, 10), (25, 23), (10, 12), (1, 1), (1, 60)]


@pytest.mark.parametrize("window", [24, 7, 1])
@pytest.mark.parametrize("size", SIZES)
def test_equals_a_mean_cut_out_pixel_by_pixel(size: tuple[int, int], window: int) -> None:
    x = 5 * torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) + 5
    expected = direct(x.double().numpy(), window)
    assert np.abs(local_mean(x, window).double().numpy() - expected).max() < 1e-5


def test_covered_map_has_one_global_mean() -> None:
    x = torch.rand(1, 2, 8, 9)
    assert torch.equal(local_mean(x, 9), x.mean(dim=(2, 3), keepdim=True))
    assert local_mean(x, 8).shape == x.shape


def test_large_values_stay_finite_in_half() -> None:
    """Prefix sums of a picture of ones times 100 pass 65504 after 655 pixels."""
    pool = GlobalMean()
    pool.window = 384
    x = torch.full((1, 1, 2000, 3000), 100.0, dtype=torch.float16)
    assert torch.equal(pool(x), x)


def test_windows_halve_from_level_to_level() -> None:
    config = ModelConfig(width=2, encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1, 1))
    network = localise(build(config), config, 384)
    found = {n.split(".sca")[0]: m.window for n, m in network.named_modules() if isinstance(m, GlobalMean)}
    expected = {f"encoders.{i}.0": 384 >> i for i in range(4)} | {f"decoders.{i}.0": 48 << i for i in range(4)}
    assert found == {**expected, "middle_blks.0": 24}
    localise(network, config, 0)
    assert all(m.window == 0 for m in network.modules() if isinstance(m, GlobalMean))


def test_reasoning_units_have_the_window_of_their_level() -> None:
    network = localise(build(RR), RR, 64)
    at = {place: {m.window for m in unit.modules() if isinstance(m, GlobalMean)} for place, unit in
          network.reasoning.items()}  # fmt: skip
    assert at == {"encoder": {32}, "middle": {16}, "decoder": {32}}


@pytest.mark.parametrize(("config", "window"), [(PLAIN, 3), (PLAIN, -1), (ModelConfig(attention="none"), 384)])
def test_impossible_windows(config: ModelConfig, window: int) -> None:
    with pytest.raises(ConfigError, match=f"tlc = {window}"):
        localise(build(config), config, window)
