"""Losses against their definitions, and the weights of deep supervision."""

import itertools
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from nafnet_deploy.errors import ConfigError, MachineError, MissingDependency
from nafnet_deploy.training.losses import deep_supervision, mixed_loss, never_worse, supervision_weights


def batch(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(seed))


def loss(name: str, a: torch.Tensor, b: torch.Tensor) -> float:
    return mixed_loss({name: 1.0})(a, b).item()


def test_psnr_loss_is_the_negative_psnr_averaged_over_the_batch() -> None:
    a, b = batch(0), batch(1)
    expected = sum(peak_signal_noise_ratio(b[i].numpy(), a[i].numpy(), data_range=1) for i in range(2)) / 2
    assert loss("psnr", a, b) == pytest.approx(-expected, abs=1e-4)


def test_l1_and_charbonnier_agree_with_their_formulas() -> None:
    a, b = batch(0), batch(1)
    assert loss("l1", a, b) == pytest.approx((a - b).abs().mean().item(), abs=1e-6)
    assert loss("charbonnier", a, b) == pytest.approx(((a - b) ** 2 + 1e-6).sqrt().mean().item(), abs=1e-6)


def test_fft_loss_is_the_mean_modulus_of_the_spectra_s_difference() -> None:
    a, b = batch(0), batch(1)
    expected = np.abs(np.fft.rfft2(a.numpy()) - np.fft.rfft2(b.numpy())).mean()
    assert loss("fft", a, b) == pytest.approx(expected, rel=1e-5)


def test_edge_loss_is_scipy_s_sobel() -> None:
    a, b = batch(0).numpy().astype(float), batch(1).numpy().astype(float)
    inner = (..., slice(1, -1), slice(1, -1))
    # scipy's sobel runs along one axis and smooths along all others, channels and batch too: do it per plane
    planes = [ndimage.sobel(x, axis) for x in (a - b).reshape(-1, *a.shape[2:]) for axis in (0, 1)]
    expected = np.mean([np.abs(p[inner]).mean() for p in planes])
    assert loss("edge", batch(0), batch(1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["psnr", "l1", "charbonnier", "fft", "edge"])
def test_losses_are_computed_in_float32_for_bfloat16_pictures_and_have_gradients(name: str) -> None:
    restored = batch(0).bfloat16().requires_grad_()
    value = mixed_loss({name: 1.0})(restored, batch(1))
    value.backward()
    assert value.dtype == torch.float32
    assert restored.grad is not None
    assert bool(torch.isfinite(restored.grad).all())


def test_a_mix_is_the_weighted_sum_and_weight_zero_is_left_out() -> None:
    a, b = batch(0), batch(1)
    mixed = mixed_loss({"l1": 2.0, "edge": 0.05, "perceptual": 0.0})(a, b).item()
    assert mixed == pytest.approx(2 * loss("l1", a, b) + 0.05 * loss("edge", a, b), rel=1e-5)


@pytest.mark.parametrize("weights", [{"l2": 1.0}, {}, {"l1": 0.0}, {"l1": 1.0, "fft": -0.1}])
def test_impossible_mixes_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        mixed_loss(weights)


def test_perceptual_loss_names_the_extra_where_its_package_is_missing() -> None:
    with pytest.raises(MissingDependency, match="perceptual"):
        mixed_loss({"perceptual": 0.1})


def test_perceptual_loss_hands_pictures_in_unit_range_to_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a double of `lpips`: proves the call, not the network."""

    class Double(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert net == "vgg"

        def forward(self, a: torch.Tensor, b: torch.Tensor, normalize: bool) -> torch.Tensor:
            assert normalize, "the package expects to be told that pictures lie in [0, 1]"
            assert a.shape[1] == b.shape[1] == 3, "it knows pictures of three channels alone"
            return (a - b).square().mean(dim=(1, 2, 3), keepdim=True)

    package = types.ModuleType("lpips")
    package.LPIPS = Double  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", package)
    a, b = batch(0), batch(1)
    assert loss("perceptual", a, b) == pytest.approx((a - b).square().mean().item(), rel=1e-5)
    pair, other = torch.cat([a, b], 1), torch.cat([b, b], 1)
    assert loss("perceptual", pair, other) == pytest.approx((a - b).square().mean().item() / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("import", "operator torchvision::nms does not exist"), ("weights", "vgg16-397923af.pth")],
)
def test_perceptual_loss_says_what_its_packages_lack(
    fault: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torchvision built for another torch fails while it is imported; a machine without a network at the download."""
    lines = {
        "import": "raise RuntimeError('operator torchvision::nms does not exist')",
        "weights": "import urllib.error\ndef LPIPS(**_):\n raise urllib.error.URLError('no route to host')",
    }
    (tmp_path / "lpips.py").write_text(lines[fault])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lpips", raising=False)
    try:
        with pytest.raises(MachineError, match=words):
            mixed_loss({"perceptual": 1.0})
    finally:
        sys.modules.pop("lpips", None)


def test_supervision_weights_grow_linearly_from_half_to_one_and_sum_to_one() -> None:
    weights = supervision_weights(5)
    assert sum(weights) == pytest.approx(1)
    assert weights[0] / weights[-1] == pytest.approx(0.5)
    steps = [b - a for a, b in itertools.pairwise(weights)]
    assert max(steps) - min(steps) < 1e-12
    assert supervision_weights(1) == [1.0]
    assert supervision_weights(3, 0.0, 1.0) == pytest.approx([0, 1 / 3, 2 / 3])


def test_deep_supervision_reaches_every_iteration_of_weight_above_zero() -> None:
    pictures = [batch(i).requires_grad_() for i in range(3)]
    deep_supervision(mixed_loss({"l1": 1.0}), pictures, batch(9), [0.0, 0.4, 0.6]).backward()
    assert [p.grad is not None for p in pictures] == [False, True, True]


def test_a_picture_made_worse_counts_even_where_the_batch_gains() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    before = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.9)]).requires_grad_()
    after = torch.stack([torch.full((3, 4, 4), 0.3), torch.full((3, 4, 4), 0.2)]).requires_grad_()
    l1 = mixed_loss({"l1": 1.0})
    worse = never_worse(l1, [before, after], clean)
    assert worse.item() == pytest.approx((0.3 - 0.1) / 2)
    worse.backward()
    assert before.grad is not None
    assert after.grad is not None
    assert not before.grad.any()
    assert after.grad[0].any()
    assert not after.grad[1].any()
    assert never_worse(l1, [after, before.detach() * 0], clean) == 0
    assert never_worse(l1, [after], clean) == 0
