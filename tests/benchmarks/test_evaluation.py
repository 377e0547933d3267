"""Evaluation reports what was measured, and its figures can be checked."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nafnet_deploy.benchmarks.evaluation import evaluate
from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.errors import ConfigError, UsageError
from nafnet_deploy.manifest import bundle_file, open_bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.runtime.restorer import Restorer
from tests.bundles import manifest_of, write_identity_graph

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "clean"
    pictures.mkdir()
    for seed in range(3):
        pixels = natural_batch((1, 3, 20, 30), seed)[0].transpose(1, 2, 0)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(pictures / f"{seed}.png")
    return pictures


def report_of(
    folder: Path, tmp_path: Path, degraded: Path | None = None, sigma: float | None = 25.0, **changes: object
) -> EvaluationReport:
    graph = tmp_path / "identity.onnx"
    write_identity_graph(graph)
    bundle_file(graph, ".json").write_text(dataclasses.replace(manifest_of(graph), **changes).to_json())
    manifest = open_bundle(graph).manifest
    with OnnxRuntimeEngine(str(graph), threads=1) as engine:
        return evaluate({1: Restorer(engine, manifest)}, manifest, folder, degraded, sigma, engine=engine.name)


def expected(picture: np.ndarray, clean: np.ndarray) -> list[float]:
    """PSNR and SSIM over RGB, then on Y, all by scikit-image."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    y_picture, y_clean = (rgb2ycbcr(p.astype(np.float64))[..., 0] for p in (picture, clean))
    return [
        peak_signal_noise_ratio(clean, picture, data_range=1),
        structural_similarity(clean, picture, data_range=1, channel_axis=2, **options),
        peak_signal_noise_ratio(y_clean, y_picture, data_range=255),
        structural_similarity(y_clean, y_picture, data_range=255, **options),
    ]


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (0.0, 255.0)])
def test_identity_network_scores_the_clipped_noise_and_nothing_more(
    folder: Path, tmp_path: Path, value_range: tuple[float, float]
) -> None:
    report = report_of(folder, tmp_path, value_range=value_range)
    rng = np.random.default_rng(0)
    for path, score in zip(sorted(folder.iterdir()), report.pictures, strict=True):
        clean = np.asarray(Image.open(path)).astype(np.float32) / 255
        noisy = clean + np.float32(25 / 255) * rng.standard_normal(clean.shape, dtype=np.float32)
        assert score.name == path.name
        assert dataclasses.astuple(score.input) == pytest.approx(expected(noisy, clean), abs=1e-4)
        assert dataclasses.astuple(score.restored[0]) == pytest.approx(expected(noisy.clip(0, 1), clean), abs=1e-4)
    for field in ("psnr", "ssim", "psnr_y", "ssim_y"):
        mean = np.mean([getattr(p.restored[0], field) for p in report.pictures])
        assert getattr(report.restored[0], field) == pytest.approx(mean)


def test_report_reads_back_equal(folder: Path, tmp_path: Path) -> None:
    report = report_of(folder, tmp_path)
    assert EvaluationReport.from_json(report.to_json()) == report
    for text in ("[]", "{", json.dumps({**json.loads(report.to_json()), "schema": 1})):
        with pytest.raises(ConfigError):
            EvaluationReport.from_json(text)


def test_equal_pictures_have_no_number_of_decibels_and_the_report_is_still_json(folder: Path, tmp_path: Path) -> None:
    report = report_of(folder, tmp_path, sigma=0)
    assert (report.input.psnr, report.input.psnr_y) == (None, None)
    assert report.input.ssim == pytest.approx(1)
    equal, unequal = report.pictures[0], dataclasses.replace(report.pictures[1].input, psnr=30.0)
    better = dataclasses.replace(equal, input=unequal)
    gains = dataclasses.replace(report, pictures=(better,)).table().columns[5]
    assert list(gains.cells) == ["", "+inf"]
    assert EvaluationReport.from_json(report.to_json()) == report


def test_pairs_are_matched_by_stem_and_scored_against_the_clean_picture(folder: Path, tmp_path: Path) -> None:
    degraded = tmp_path / "blurred"
    degraded.mkdir()
    for path in folder.iterdir():
        with Image.open(path) as picture:
            picture.filter(ImageFilter.BoxBlur(1)).save(degraded / f"{path.stem}.bmp")
    report = report_of(folder, tmp_path, degraded, None)
    assert (report.clean, report.degraded, report.sigma) == ("clean", "blurred", None)
    for path, score in zip(sorted(degraded.iterdir()), report.pictures, strict=True):
        blurred, clean = (
            np.asarray(Image.open(p)).astype(np.float32) / 255 for p in (path, folder / f"{path.stem}.png")
        )
        assert score.name == path.name
        assert dataclasses.astuple(score.input) == pytest.approx(expected(blurred, clean), abs=1e-4)
        assert score.restored == (score.input,)


def test_unreadable_and_tiny_pictures_are_skipped_and_named_without_their_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "1.png").write_bytes(b"not a picture")
    Image.new("RGB", (10, 40)).save(folder / "3.png")
    report = report_of(folder, tmp_path)
    assert [p.name for p in report.pictures] == ["0.png", "2.png"]
    assert [p.name for p in report.skipped] == ["1.png", "3.png"]
    assert report.skipped[1].reason == "a picture of 10x40 pixels is too small for SSIM."
    assert str(tmp_path) not in report.to_json()


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"none of the 1 .* not a picture"):
        report_of(tmp_path / "bad", tmp_path)


def test_impossible_requests_are_told(folder: Path, tmp_path: Path) -> None:
    for sigma in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="sigma"):
            report_of(folder, tmp_path, sigma=sigma)
    with pytest.raises(ConfigError, match="--degraded"):
        report_of(folder, tmp_path, folder, 25.0)
    with pytest.raises(ConfigError, match="enlarges pictures; it is not given noise"):
        report_of(folder, tmp_path, scale=2)
    with pytest.raises(UsageError, match="not a folder"):
        report_of(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        report_of(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("eval-*.json")), ids=lambda p: p.name)
def test_committed_evaluation_reads(path: Path) -> None:
    report = EvaluationReport.from_json(path.read_text(encoding="utf-8"), path.name)
    assert all(len(p.restored) == len(report.iterations) for p in report.pictures)
