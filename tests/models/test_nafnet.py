"""NAFNet against an independent implementation, its counts, and its small parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.blocks import NAFBlock
from nafnet_deploy.models.layers import GlobalMean, LayerNorm2d
from nafnet_deploy.models.registry import build, count_parameters
from nafnet_deploy.presets import preset
from tests.oracles import spandrel_nafnet
from tests.weights import stir

SMALL = ModelConfig(width=32, encoder_blocks=(1, 1, 1, 1), middle_blocks=1, decoder_blocks=(1, 1, 1, 1))


@pytest.mark.parametrize("name", ["nafnet-gopro-w32", "nafnet-sidd-w32"])
@torch.inference_mode()
def test_equals_spandrel(name: str) -> None:
    config = preset(name).config
    theirs = spandrel_nafnet(config).eval()
    ours = build(config).eval()
    stir(theirs)
    ours.load_state_dict(theirs.state_dict())
    for height, width in ((64, 64), (49, 71)):
        x = torch.rand(2, 3, height, width)
        padded = F.pad(x, (0, -width % config.size_multiple, 0, -height % config.size_multiple))
        expected = theirs(x)
        assert (expected - x).abs().max() > 1e-2  # it does something
        assert (ours(padded)[:, :, :height, :width] - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (SMALL, 4_497_507),
        (preset("nafnet-gopro-w32").config, 17_111_907),
        (preset("nafnet-gopro-w64").config, 67_888_835),
        (preset("nafnet-reds-w64").config, 67_888_835),
        (preset("nafnet-sidd-w32").config, 29_159_715),
        (preset("nafnet-sidd-w64").config, 115_982_915),
    ],
)
def test_published_counts(config: ModelConfig, count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build(config)) == count


@pytest.mark.parametrize("name", ["nafnet-gopro-w32", "nafnet-sidd-w32"])
def test_published_layout(name: str) -> None:
    with torch.device("meta"):
        keys = build(preset(name).config).state_dict().keys()
    assert len(keys) == 664
    assert {"encoders.3.0.sca.1.weight", "middle_blks.0.norm1.bias", "ups.0.0.weight", "decoders.0.0.beta"} <= set(keys)


def test_fresh_block_is_the_identity() -> None:
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(NAFBlock(8)(x), x)


def test_block_dropout_only_while_training() -> None:
    block = stir(NAFBlock(8, dropout=0.5))
    x = torch.randn(1, 8, 16, 16)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_layer_norm_statistics_stay_in_float32() -> None:
    """Squared deviations far above 65504, the largest half, must not collapse the layer."""
    torch.manual_seed(0)
    norm = LayerNorm2d(64)
    x = (2000 * torch.randn(1, 64, 8, 8)).half()
    expected = (x.double() - x.double().mean(1, keepdim=True)) / x.double().var(1, keepdim=True, correction=0).sqrt()
    assert (x.float() ** 2).max() > 65504
    result = norm.half()(x)
    assert result.dtype == torch.float16
    assert (result.double() - expected).abs().max() < 4e-3  # half's rounding near 4


def test_global_mean_sums_in_float32() -> None:
    x = torch.full((1, 2, 256, 256), 6.0, dtype=torch.float16)  # a half sum would pass 65504
    mean = GlobalMean()(x)
    assert mean.dtype == torch.float16
    assert torch.equal(mean, torch.full((1, 2, 1, 1), 6.0, dtype=torch.float16))


@torch.inference_mode()
def test_one_channel_pictures() -> None:
    network = build(ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,), channels=1))
    assert network(torch.rand(1, 1, 6, 10)).shape == (1, 1, 6, 10)
