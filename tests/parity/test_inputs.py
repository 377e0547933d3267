"""Seeded inputs and the shapes of a parity check."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nafnet_deploy.manifest import ModelManifest, TensorSpec
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes
from tests.bundles import write_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    return write_bundle(tmp_path / "identity.onnx")


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 1, 40, 56), (1, 3, 1, 1), (2, 3, 1, 9)])
def test_pictures_have_the_shape_and_range_asked_for(shape: tuple[int, int, int, int]) -> None:
    batch = natural_batch(shape, seed=1)
    assert batch.shape == shape
    assert batch.dtype == np.float32
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_a_seed_decides_the_pictures_and_rows_differ() -> None:
    a, b, c = (natural_batch((2, 3, 32, 32), seed) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(a[0], a[1])


def test_pictures_are_smooth_yet_not_flat() -> None:
    batch = natural_batch((1, 3, 256, 256), seed=0)
    neighbours = np.abs(np.diff(batch, axis=-1)).mean()
    strangers = np.abs(batch - np.random.default_rng(0).permuted(batch, axis=-1)).mean()
    assert 0 < neighbours < 0.5 * strangers
    assert batch.std() > 0.1


def test_three_sizes_and_two_batches_at_the_size_multiple(manifest: ModelManifest) -> None:
    shapes = parity_shapes(dataclasses.replace(manifest, size_multiple=40))
    assert len(shapes) == 6
    assert {(h, w) for _, _, h, w in shapes} == {(80, 80), (120, 160), (280, 280)}
    assert {b for b, *_ in shapes} == {1, 3}


def test_what_the_graph_fixes_stays_fixed(manifest: ModelManifest) -> None:
    fixed = dataclasses.replace(manifest, inputs=(TensorSpec("input", "float32", (2, 3, 48, 80)),))
    assert parity_shapes(fixed) == [(2, 3, 48, 80)]
    free_batch = dataclasses.replace(manifest, inputs=(TensorSpec("input", "float32", ("batch", 3, 48, 80)),))
    assert parity_shapes(free_batch) == [(1, 3, 48, 80), (3, 3, 48, 80)]
