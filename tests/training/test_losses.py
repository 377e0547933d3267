"""Losses against their definitions, and the weights of deep supervision."""

import itertools

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from nafnet_deploy.training.losses import LOSSES, deep_supervision, supervision_weights


def batch(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_psnr_loss_is_the_negative_psnr_averaged_over_the_batch() -> None:
    a, b = batch(0), batch(1)
    expected = sum(peak_signal_noise_ratio(b[i].numpy(), a[i].numpy(), data_range=1) for i in range(2)) / 2
    assert LOSSES["psnr"](a, b).item() == pytest.approx(-expected, abs=1e-4)


def test_l1_and_charbonnier_agree_with_their_formulas() -> None:
    a, b = batch(0), batch(1)
    assert LOSSES["l1"](a, b).item() == pytest.approx((a - b).abs().mean().item(), abs=1e-6)
    assert LOSSES["charbonnier"](a, b).item() == pytest.approx(((a - b) ** 2 + 1e-6).sqrt().mean().item(), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_computed_in_float32_for_bfloat16_pictures(name: str) -> None:
    assert LOSSES[name](batch(0).bfloat16(), batch(1)).dtype == torch.float32


def test_supervision_weights_grow_linearly_from_half_to_one_and_sum_to_one() -> None:
    weights = supervision_weights(5)
    assert sum(weights) == pytest.approx(1)
    assert weights[0] / weights[-1] == pytest.approx(0.5)
    steps = [b - a for a, b in itertools.pairwise(weights)]
    assert max(steps) - min(steps) < 1e-12
    assert supervision_weights(1) == [1.0]


def test_deep_supervision_reaches_every_iteration() -> None:
    pictures = [batch(i).requires_grad_() for i in range(3)]
    deep_supervision(LOSSES["l1"], pictures, batch(9)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pictures)
