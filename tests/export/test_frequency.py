"""Fourier transforms as matrix products, and what becomes of over-parameterised convs in a graph."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.frequency import MatrixMagnitude, MatrixSkip, inverse, transform
from nafnet_deploy.export.unroll import unroll
from nafnet_deploy.models.frequency import FrequencySkip, MagnitudeInput
from nafnet_deploy.models.registry import picture
from tests.variants import variant
from tests.weights import seeded, stir

SIZES = [(16, 24), (33, 20), (20, 33), (1, 1), (1, 7), (2, 2), (180, 320)]


@pytest.mark.parametrize("size", SIZES)
def test_products_with_matrices_are_the_transform_and_its_inverse(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    real, imaginary = transform(x, size[1] // 2 + 1)
    expected = torch.fft.rfft2(x.double())
    largest = expected.abs().max()
    assert (torch.complex(real, imaginary) - expected).abs().max() < 1e-6 * largest
    assert (inverse(real, imaginary, *size) - x).abs().max() < 1e-5


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_both_forms_of_a_part_agree(size: tuple[int, int]) -> None:
    x = torch.rand(2, 4, *size, generator=torch.Generator().manual_seed(1))
    network = torch.nn.ModuleDict({"skip": FrequencySkip(4), "input": MagnitudeInput()})
    folded = fold(network)
    assert isinstance(folded["skip"], MatrixSkip)
    assert isinstance(folded["input"], MatrixMagnitude)
    for name in network:
        assert (folded[name](x) - network[name](x)).abs().max() < 1e-5


def test_filters_compute_in_float32_under_autocast() -> None:
    skip, x = FrequencySkip(4), 50 + 5 * torch.rand(1, 4, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = skip(x)
    assert torch.allclose(mixed, skip(x), rtol=1e-5, atol=1e-4)


def test_do_conv_leaves_no_trace_in_the_graph() -> None:
    over = variant("nafft", reasoning=True)
    plain = dataclasses.replace(over, do_conv=False)
    network, x = stir(seeded(over)).eval(), torch.rand(1, 3, 16, 16)
    kinds = []
    for folded in (fold(network), fold(stir(seeded(plain)))):
        assert not any(name.endswith((".D", ".W")) for name, _ in folded.named_parameters())
        graph = unroll(folded, over, 1, (1, 3, 16, 16), {}, 18).graph
        kinds.append(([node.op_type for node in graph.node], sorted(tuple(w.dims) for w in graph.initializer)))
    assert kinds[0] == kinds[1]
    with torch.inference_mode():
        assert (picture(fold(network), x, 2) - picture(network, x, 2)).abs().max() < 1e-5
