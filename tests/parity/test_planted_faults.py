"""A fault planted into one link of a real chain is caught, and it is that link which is blamed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import pytest

import nafnet_deploy.parity.walk as room
from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.norms import ChannelNorm
from nafnet_deploy.export.precision import to_half
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import Bundle, open_bundle
from nafnet_deploy.parity.chain import ENGINE, EXPORT, FAIL, HALF, PASS, SKIPPED, ChainReport
from nafnet_deploy.parity.tiles import STATIC
from nafnet_deploy.parity.walk import run_chain
from tests.export.half import CONFIG, NOTHING_WIDENED, amplify, half_graph, half_norm, ordinary
from tests.exports import quick_export
from tests.parity import faults
from tests.parity.faults import Fault, planted

FAULTS = [faults.perturbed_weight, faults.dropped_iteration, faults.swapped_channels, faults.leaking_batch]
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)


def verdicts(report: ChainReport) -> list[str]:
    return [link.verdict for link in report.links]


def blames(report: ChainReport, link: str, fault: Fault) -> None:
    """Asserts that this link alone failed, where the fault acts and nowhere else."""
    assert not report
    assert [failed.name for failed in report.failed_links] == [link]
    assert report.verdict().startswith(f"{link}: ")
    rows = report.failed_links[0].failures
    assert {row.iteration for row in rows} == ({3} if fault is faults.dropped_iteration else {1, 2, 3})
    batches = {row.shape[0] for row in rows}
    if fault is faults.leaking_batch:
        assert 1 not in batches
        assert [test.name for test in report.failed_tests] == ["permuted batch"]
    else:
        assert len(batches) > 1
        assert not report.failed_tests, "an engine that answers wrongly the same way each time is consistent"


def test_sound_links_all_pass(full: Bundle, half: Bundle) -> None:
    report = run_chain(half, full=full, engine="onnxruntime")
    assert report, report.verdict()
    assert verdicts(report) == [PASS, PASS, PASS]
    assert [test.verdict for test in report.self_tests] == [PASS] * 7
    assert report.verdict().endswith("7 of 7 self-tests.")


@every_fault
def test_a_fault_of_the_export(full: Bundle, tmp_path: Path, fault: Fault) -> None:
    report = run_chain(planted(full, fault, tmp_path / "bad-fp32.onnx"))
    blames(report, EXPORT, fault)
    assert verdicts(report) == [FAIL, SKIPPED, SKIPPED]


@every_fault
def test_a_fault_of_the_half_graph(full: Bundle, half: Bundle, tmp_path: Path, fault: Fault) -> None:
    report = run_chain(planted(half, fault, tmp_path / "bad-fp16.onnx"), full=full)
    blames(report, HALF, fault)
    assert verdicts(report) == [PASS, FAIL, SKIPPED]


@every_fault
def test_a_fault_of_the_engine(full: Bundle, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = planted(full, fault, tmp_path / "bad-fp32.onnx")
    plant(monkeypatch, bad)
    report = run_chain(full, engine="planted")
    blames(report, ENGINE, fault)
    assert verdicts(report) == [PASS, SKIPPED, FAIL]
    assert report.engine == "planted cpu"


def plant(monkeypatch: pytest.MonkeyPatch, bad: Bundle) -> None:
    """An engine `planted`, which computes the graph of `bad` whatever it is given."""

    def open_either(name: str, bundle: Bundle, iterations: int | None, *rest: Any) -> Engine:
        if name != "planted":
            return open_engine(name, bundle, iterations, *rest)
        engine = open_engine("onnxruntime", bad, iterations)
        engine.name = "planted cpu"
        return engine

    monkeypatch.setattr(room, "open_engine", open_either)


def test_a_fault_of_the_export_that_both_graphs_carry_is_not_blamed_on_the_half_graph(
    full: Bundle, half: Bundle, tmp_path: Path
) -> None:
    fault = faults.perturbed_weight
    bad = planted(full, fault, tmp_path / "x-fp32.onnx")
    report = run_chain(planted(half, fault, tmp_path / "x-fp16.onnx"))
    assert bad.graph.name == "x-fp32.onnx", "it is found beside the fp16 one"
    blames(report, EXPORT, fault)
    assert verdicts(report) == [FAIL, PASS, SKIPPED]


def test_a_half_graph_without_islands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = amplify(ordinary(), 2500)
    checkpoint = Checkpoint(network.state_dict(), CONFIG, "wide", "denoising", {"source": "tests"})
    recipe = ExportRecipe(imgsz="32", batch=1, output=str(tmp_path / "wide-fp32.onnx"))
    full = quick_export(checkpoint, recipe)
    module = to_half(fold(network), NOTHING_WIDENED)

    def chain(name: str) -> ChainReport:
        onnx.save(half_graph(module, CONFIG, CONFIG.iterations, 32), tmp_path / f"{name}.onnx")
        return run_chain(Bundle(tmp_path / f"{name}.onnx", manifest), full=full)

    manifest = dataclasses.replace(full.manifest, precision="fp16")
    assert verdicts(chain("islands")) == [PASS, PASS, SKIPPED]
    monkeypatch.setattr(ChannelNorm, "forward", half_norm)
    report = chain("none")
    assert verdicts(report) == [PASS, FAIL, SKIPPED]
    assert any(word in report.verdict() for word in ("dB", "abs error", "not finite"))


def test_values_that_are_not_finite_are_a_failure_and_stop_the_blame_there(
    full: Bundle, half: Bundle, tmp_path: Path
) -> None:
    bad = planted(half, faults.not_a_number, tmp_path / "bad-fp16.onnx")
    report = run_chain(bad, full=full, engine="onnxruntime")
    assert not report
    assert verdicts(report) == [PASS, FAIL, SKIPPED]
    assert "not finite" in report.failed_links[0].fault()
    assert "not finite" in report.links[2].reason
    assert all(step.worst_error is None and step.useful is None for step in report.links[1].steps)
    assert "permuted batch" in {test.name for test in report.failed_tests}
    assert PASS not in {test.verdict for test in report.self_tests}
    assert ChainReport.from_json(report.to_json()) == report


def test_a_split_bundle_walks_the_chain_too(tiny_split: Path) -> None:
    report = run_chain(open_bundle(tiny_split))
    assert report, report.verdict()
    assert report.graph_sha256 == open_bundle(tiny_split).manifest.graph_sha256
    assert {test.name: test.verdict for test in report.self_tests}[STATIC] == SKIPPED
