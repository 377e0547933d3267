"""The figures of half precision: how they are taken, and that the committed ones pass."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.benchmarks.half_quality import HalfReport, measure, middles
from nafnet_deploy.errors import ConfigError, UsageError
from nafnet_deploy.manifest import sha256_of
from nafnet_deploy.metrics import psnr
from nafnet_deploy.released import weights_folder
from tests import toy
from tests.bundles import manifest_of, write_bundle

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (20, 30)), ("b.png", (16, 16)), ("c.png", (40, 17))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def report_of(folder: Path, error: float) -> HalfReport:
    """The toy network against itself with `error` added."""
    write_bundle(folder / "toy.onnx")
    manifest = dataclasses.replace(manifest_of(folder / "toy.onnx"), iterations=3)

    def off(x: np.ndarray, n: int) -> np.ndarray:
        return toy.network(x, n) + np.float32(error)

    return measure(manifest, lambda n: toy.ToyEngine(off, n), toy.pictures, middles(folder, 2, 16), folder.name, 25.0)


def test_crops_come_from_the_middle_of_pictures_spread_over_the_folder(folder: Path) -> None:
    crops = middles(folder, 3, 16)
    assert list(crops) == ["a.png", "b.png", "c.png"]
    whole = np.asarray(Image.open(folder / "a.png"), np.float32) / 255
    np.testing.assert_allclose(crops["a.png"][0], whole[2:18, 7:23].transpose(2, 0, 1))
    with pytest.raises(UsageError, match="smaller than 17x17"):
        middles(folder, 3, 17)
    with pytest.raises(UsageError, match="4 are needed"):
        middles(folder, 4, 8)


def test_small_error_passes_and_a_large_one_fails(folder: Path) -> None:
    good, bad = report_of(folder, 1e-4), report_of(folder, 2e-3)
    assert good
    assert not bad
    assert good.iterations == range(1, 4)
    assert good.worst(2) == pytest.approx(80, abs=0.1)
    assert bad.worst(3) == pytest.approx(54, abs=0.1)
    assert good.table().row_count == 3


def test_psnr_is_against_the_clean_crop_after_noise_was_added(folder: Path) -> None:
    report = report_of(folder, 0.0001)
    clean = middles(folder, 2, 16)["a.png"]
    noise = np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    restored = toy.network(clean + np.float32(25 / 255) * noise, 2)
    assert report.crops[0].full[1] == pytest.approx(psnr(restored.clip(0, 1), clean))


def test_json_comes_back_equal_and_a_forged_verdict_is_refused(folder: Path) -> None:
    report = report_of(folder, 1e-4)
    assert HalfReport.from_json(report.to_json()) == report
    with pytest.raises(ConfigError, match="passed"):
        HalfReport.from_json(report.to_json().replace('"passed": true', '"passed": false'))


def test_committed_results_pass_and_are_of_the_weights_in_the_package() -> None:
    paths = sorted(RESULTS.glob("fp16-*.json"))
    assert paths
    for path in paths:
        report = HalfReport.from_json(path.read_text(encoding="utf-8"), path.name)
        assert report, path.name
        assert report.checkpoint_sha256 == sha256_of(weights_folder() / f"{report.model}.safetensors"), path.name
