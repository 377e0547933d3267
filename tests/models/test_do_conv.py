"""DO-Conv against its definition."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from nafnet_deploy.models.do_conv import DOConv2d
from tests.plain_formulas import do_conv_kernel

SHAPES = [(6, 4, 3, 1, 1, 1), (3, 8, 2, 2, 0, 1), (6, 6, 3, 1, 1, 6)]


def layer(shape: tuple[int, int, int, int, int, int]) -> DOConv2d:
    conv = DOConv2d(*shape)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        conv.D.copy_(0.3 * torch.randn(conv.D.shape, generator=generator))
    return conv


@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_kernel_is_the_product_of_its_factors_and_folds_exactly(shape: tuple[int, int, int, int, int, int]) -> None:
    conv = layer(shape)
    x = torch.rand(2, shape[0], 12, 14)
    kernel = do_conv_kernel(conv.D.double(), conv.W.double())
    expected = F.conv2d(x.double(), kernel, conv.bias.double(), shape[3], shape[4], groups=shape[5])
    assert (conv(x) - expected).abs().max() < 1e-5
    plain = conv.plain()
    assert type(plain) is torch.nn.Conv2d
    assert (plain(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_fresh_layer_is_the_plain_conv_with_its_weights(shape: tuple[int, int, int, int, int, int]) -> None:
    conv = DOConv2d(*shape)
    assert torch.equal(conv.weight().flatten(), conv.W.flatten())


@pytest.mark.parametrize(("shape", "factor"), [*product(SHAPES, ("D", "W", "bias"))])
def test_a_training_step_changes_every_factor(shape: tuple[int, int, int, int, int, int], factor: str) -> None:
    conv = DOConv2d(*shape)
    before = getattr(conv, factor).detach().clone()
    optimizer = torch.optim.AdamW(conv.parameters(), lr=1e-3, weight_decay=0)
    conv(torch.rand(2, shape[0], 8, 8)).square().mean().backward()
    optimizer.step()
    assert (getattr(conv, factor) != before).all()
