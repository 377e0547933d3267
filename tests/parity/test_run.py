"""`run_parity` on bundles, with toy engines in the place of the registry's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest

import nafnet_deploy.parity.run as room
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.manifest import Bundle, sha256_of
from nafnet_deploy.parity.golden import Case, write_golden
from nafnet_deploy.parity.inputs import natural_batch
from tests import toy
from tests.bundles import manifest_of, write_bundle

SMALL = ((1, 3, 16, 24), (3, 3, 16, 24))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Three iterations of the toy network, with a golden file."""
    manifest = write_bundle(tmp_path / "toy.onnx")
    found = Bundle(tmp_path / "toy.onnx", dataclasses.replace(manifest, iterations=3))
    batches = [natural_batch(shape, seed) for seed, shape in enumerate(SMALL)]
    write_golden(found.golden, [Case(x, tuple(toy.pictures(x, 3))) for x in batches])
    return vouch(found)


def vouch(bundle: Bundle) -> Bundle:
    hashes = {**bundle.manifest.sha256, ".golden.npz": sha256_of(bundle.golden)}
    return Bundle(bundle.graph, dataclasses.replace(bundle.manifest, sha256=hashes))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The registry opens honest toy engines."""
    plant(monkeypatch, toy.network)
    return monkeypatch


def plant(monkeypatch: pytest.MonkeyPatch, function: toy.Network) -> None:
    monkeypatch.setattr(
        room, "open_engine", lambda name, bundle, iterations, *rest: toy.ToyEngine(function, iterations)
    )


def test_against_the_golden_file(bundle: Bundle, engine: pytest.MonkeyPatch) -> None:
    report = room.run_parity(bundle)
    assert report
    assert report.reference == "golden"
    assert report.graph_sha256 == sha256_of(bundle.graph)
    assert [(row.iteration, row.shape) for row in report.rows] == [(n, s) for n in (1, 2, 3) for s in SMALL]


def test_against_pytorch(bundle: Bundle, engine: pytest.MonkeyPatch) -> None:
    report = room.run_parity(bundle, toy.pictures, iterations=[2])
    assert report
    assert report.reference == "pytorch"
    assert {row.shape for row in report.rows} == {
        (b, 3, h, w) for b in (1, 3) for h, w in ((64, 64), (96, 160), (256, 256))
    }


def test_a_planted_fault_is_reported(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda x, n: toy.network(x, min(n, 2)))
    report = room.run_parity(bundle, toy.pictures, shapes=SMALL)
    assert not report
    assert {row.iteration for row in report.failures} == {3}
    assert "2 of 6 comparisons failed; the first, iteration 3 at 1x3x16x24" in report.verdict()


def test_the_real_registry_and_graph(tmp_path: Path) -> None:
    path = tmp_path / "identity.onnx"
    write_bundle(path)
    model = onnx.load(path)
    model.ir_version = 10  # onnx writes newer versions than onnxruntime reads
    onnx.save(model, path)
    bundle = Bundle(path, manifest_of(path))
    assert room.run_parity(bundle, lambda x, n: [x] * n, shapes=SMALL)
    assert not room.run_parity(bundle, lambda x, n: [x + 1e-4] * n, shapes=SMALL)


@pytest.mark.parametrize("iterations", [[], [0], [4], [1, 9]])
def test_iterations_that_the_graph_does_not_have(bundle: Bundle, iterations: list[int]) -> None:
    with pytest.raises(ConfigError, match="1 to 3"):
        room.run_parity(bundle, iterations=iterations)


def test_a_golden_file_that_was_exchanged(bundle: Bundle) -> None:
    x = natural_batch(SMALL[0], 9)
    write_golden(bundle.golden, [Case(x, tuple(toy.pictures(x, 3)))])
    with pytest.raises(CheckpointError, match="vouches"):
        room.run_parity(bundle)


def test_a_golden_file_with_too_few_iterations(bundle: Bundle) -> None:
    x = natural_batch(SMALL[0], 9)
    write_golden(bundle.golden, [Case(x, tuple(toy.pictures(x, 2)))])
    with pytest.raises(CheckpointError, match="2 of 3"):
        room.run_parity(vouch(bundle))


def test_a_missing_golden_file(bundle: Bundle) -> None:
    bundle.golden.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        room.run_parity(bundle)


def test_a_report_without_comparisons_proves_nothing(bundle: Bundle, engine: pytest.MonkeyPatch) -> None:
    report = dataclasses.replace(room.run_parity(bundle), rows=())
    assert not report
    assert report.verdict() == "Nothing was compared."
