"""Evaluation reports what was measured, and its figures can be checked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from nafnet_deploy.benchmarks.evaluation import EvaluationReport, evaluate
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


def report_of(folder: Path, tmp_path: Path, sigma: float = 25.0) -> EvaluationReport:
    graph = tmp_path / "identity.onnx"
    write_identity_graph(graph)
    bundle_file(graph, ".json").write_text(manifest_of(graph).to_json())
    manifest = open_bundle(graph).manifest
    with OnnxRuntimeEngine(str(graph), threads=1) as engine:
        return evaluate({1: Restorer(engine, manifest)}, manifest, folder, sigma)


def test_identity_network_scores_the_clipped_noise_and_nothing_more(folder: Path, tmp_path: Path) -> None:
    report = report_of(folder, tmp_path)
    rng = np.random.default_rng(0)
    for path, score in zip(sorted(folder.iterdir()), report.pictures, strict=True):
        clean = np.asarray(Image.open(path)).astype(np.float32) / 255
        noisy = clean + np.float32(25 / 255) * rng.standard_normal(clean.shape, dtype=np.float32)
        assert score.name == path.name
        assert score.noisy == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=1), abs=1e-3)
        expected = peak_signal_noise_ratio(clean, noisy.clip(0, 1), data_range=1)
        assert score.restored[0] == pytest.approx(expected, abs=1e-3)
    assert report.restored[0] == pytest.approx(np.mean([p.restored[0] for p in report.pictures]))


def test_report_reads_back_equal(folder: Path, tmp_path: Path) -> None:
    report = report_of(folder, tmp_path)
    assert EvaluationReport.from_json(report.to_json()) == report
    with pytest.raises(ConfigError):
        EvaluationReport.from_json("[]")


def test_unreadable_picture_stops_the_evaluation_instead_of_changing_the_mean(folder: Path, tmp_path: Path) -> None:
    (folder / "1.png").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match="stopped"):
        report_of(folder, tmp_path)


def test_impossible_requests_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sigma"):
        report_of(folder, tmp_path, sigma=-1)
    with pytest.raises(UsageError, match="not a folder"):
        report_of(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        report_of(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("eval-*.json")), ids=lambda p: p.name)
def test_committed_evaluation_reads(path: Path) -> None:
    report = EvaluationReport.from_json(path.read_text(encoding="utf-8"), path.name)
    assert all(len(p.restored) == len(report.iterations) for p in report.pictures)
