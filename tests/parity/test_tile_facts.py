"""What is stated about tiles is what the network does: its reach, and how its global means judge a tile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nafnet_deploy.manifest import Bundle, ModelManifest
from nafnet_deploy.parity.inputs import NOISE
from nafnet_deploy.parity.tile_facts import LADDER, measure_overlap, measure_tiles
from nafnet_deploy.parity.tiles import SEAMS, TILED, tile_tests
from nafnet_deploy.parity.tolerance import TILED as LIMITS
from nafnet_deploy.released import find_bundle, released_models
from tests import toy
from tests.bundles import manifest_of, write_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    write_bundle(tmp_path / "toy.onnx")
    return dataclasses.replace(manifest_of(tmp_path / "toy.onnx"), tile_overlap=0, tile_least=0, tile_noise=9.0)


def mean_within(x: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Every pixel becomes the mean of those up to `reach` to its left and right."""
    padded = np.pad(x, [(0, 0)] * 3 + [(reach, reach)], mode="edge")
    return np.mean([padded[..., i : i + x.shape[3]] for i in range(2 * reach + 1)], axis=0, dtype=np.float32)


def engine_of(answer: toy.Network) -> toy.ToyEngine:
    return toy.ToyEngine(answer, 1)


@pytest.mark.parametrize("reach", [0, 3, 10])
def test_the_overlap_is_twice_the_reach(manifest: ModelManifest, reach: int) -> None:
    overlap = measure_overlap(engine_of(lambda x, n: mean_within(x, reach)), manifest)
    assert overlap % manifest.size_multiple == 0
    # the outermost pixels of a mean weigh 1 / (2 reach + 1) and may stay below half an 8-bit step
    assert reach <= overlap <= 2 * reach + manifest.size_multiple


def test_a_mean_of_the_whole_picture_is_no_reach(manifest: ModelManifest) -> None:
    def shifted(x: NDArray[np.float32], n: int) -> NDArray[np.float32]:
        return np.asarray(mean_within(x, 3) + 0.2 * (x**2).mean(axis=(2, 3), keepdims=True), np.float32)

    assert measure_overlap(engine_of(shifted), manifest) <= 6 + manifest.size_multiple


def test_a_local_network_is_vouched_for_at_the_smallest_tile(manifest: ModelManifest) -> None:
    found = measure_tiles(engine_of(lambda x, n: mean_within(x, 3)), manifest, LIMITS)
    assert (found.tile_least, found.tile_noise) == (96, NOISE)


def restless(x: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Answers to noise with a shift of the whole picture that follows its mean; quiet pictures stay as they are."""
    noise = np.abs(np.diff(x, axis=3)).mean(axis=(1, 2, 3), keepdims=True)
    loud = noise > 0.02
    return np.asarray(x + loud * 2 * (x.mean(axis=(1, 2, 3), keepdims=True) - 0.5), np.float32)


def test_a_network_that_noise_upsets_is_vouched_for_without_noise_and_then_passes(manifest: ModelManifest) -> None:
    engine = engine_of(restless)
    found = measure_tiles(engine, manifest, LIMITS)
    assert found.tile_noise == 0.0
    assert [t.verdict for t in tile_tests(engine, found, LIMITS, found.tile_least)] == ["pass", "pass"]
    noisy = dataclasses.replace(found, tile_noise=NOISE)
    assert tile_tests(engine, noisy, LIMITS, found.tile_least)[0].verdict == "fail"


def test_a_network_that_no_tile_suits_fails_the_self_test_still(manifest: ModelManifest) -> None:
    engine = engine_of(lambda x, n: np.asarray(x + (x.mean(axis=(2, 3), keepdims=True) - 0.5), np.float32))
    found = measure_tiles(engine, manifest, LIMITS)
    assert (found.tile_noise, found.tile_least) == (LADDER[-1][0], LADDER[-1][1][-1])
    verdicts = {t.name: t.verdict for t in tile_tests(engine, found, LIMITS, found.tile_least)}
    assert verdicts[TILED] == "fail"
    assert SEAMS in verdicts


def test_an_export_states_what_it_measured(full: Bundle) -> None:
    assert full.manifest.tile_least in {side for _, sides in LADDER for side in sides}
    assert full.manifest.tile_noise in {noise for noise, _ in LADDER}
    assert 0 < full.manifest.tile_overlap <= 256


@pytest.mark.parametrize("name", released_models())
def test_released_models_state_measured_facts(name: str) -> None:
    manifest = find_bundle(name).manifest
    assert 0 < 2 * manifest.tile_overlap <= manifest.tile_least <= 192
