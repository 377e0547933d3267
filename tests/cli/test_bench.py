"""`nafdeploy bench` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nafnet_deploy.benchmarks.process_cost import ProcessCost
from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.benchmarks.scale import ScaleReport
from tests.cli.conftest import Command

QUICK = ("--imgsz", "16", "--runs", "2", "--warmup", "0", "--pause", "0")


@pytest.mark.slow  # torch.compile alone takes half a minute
def test_every_peer_takes_part_and_agrees(command: Command, tiny: Path) -> None:
    done = command("bench", tiny.with_suffix(".safetensors"), *QUICK, "--peers", "--only", "2", "--profile", "--json")
    assert done.code == 0, done.err
    report = BenchmarkReport.from_json(done.out)
    labels = [row.label for row in report.rows]
    assert labels[:2] == ["PyTorch eager", "ONNX Runtime"]
    for label in ("PyTorch channels-last", "PyTorch compiled", "ONNX Runtime naive", "OpenVINO"):
        assert label in labels or f"{label} is left out" in done.err
    assert all(row.iteration == 2 and row.load_ms is not None and row.first_ms for row in report.rows)
    assert all(row.process is not None and row.process.peak_mib for row in report.rows)
    assert {profile.label for profile in report.profiles} == {"ONNX Runtime", "ONNX Runtime naive"}


@pytest.mark.slow
def test_torch_compile_compiles_every_iteration(command: Command, tiny: Path) -> None:
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()  # else what another test compiled would serve here
    counters.clear()
    done = command("bench", tiny.with_suffix(".safetensors"), *QUICK, "--iters", "3", "--engine", "pytorch-compile",
                   "--no-memory", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert counters["stats"]["unique_graphs"] == 3
    assert not counters["unimplemented"]


def test_both_forms_of_export_are_timed_and_one_is_recommended(command: Command, tiny: Path) -> None:
    done = command("bench", tiny.with_suffix(".safetensors"), *QUICK, "--iters", "2", "--engine", "onnxruntime",
                   "--engine", "onnxruntime-split", "--json")  # fmt: skip
    assert done.code == 0, done.err
    report = BenchmarkReport.from_json(done.out)
    split = [row for row in report.rows if row.label == "ONNX Runtime split"]
    assert [row.iteration for row in split] == [1, 2]
    assert split[-1].process is not None
    line = next(line for line in done.err.splitlines() if line.startswith("Time of split over unrolled"))
    assert "at N = 1" in line
    assert "at N = 2" in line


def test_an_engine_in_another_precision_is_never_compared_without_saying_so(command: Command, tiny: Path) -> None:
    done = command("bench", tiny, *QUICK, "--only", "1", "--no-memory", "--engine", "onnxruntime", "--engine",
                   "openvino-bf16")  # fmt: skip
    if done.code == 6:
        assert "no bfloat16" in done.err
        return
    line = next(line for line in done.err.splitlines() if line.startswith(("N = 1", "No headline")))
    assert "[bf16 against fp32, pictures agree to" in line or "disagree" in line


def test_half_graphs_are_float32_on_the_cpu_and_held_to_the_limits_of_half(command: Command, tiny_half: Path) -> None:
    done = command("bench", tiny_half, *QUICK, "--only", "1", "--no-memory", "--engine", "auto", "--engine", "openvino",
                   "--json")  # fmt: skip
    assert done.code == 0, done.err
    report = BenchmarkReport.from_json(done.out)
    assert report.precision == "fp16"
    assert [(row.precision, row.limits) for row in report.rows] == [("fp32", "fp16")] * 2
    assert "OpenVINO is " in done.err
    assert "as fast as auto [both in fp32] (" in done.err


def test_end_to_end_takes_any_size(command: Command, tiny: Path) -> None:
    quick = ("--imgsz", "13x17", *QUICK[2:])
    done = command("bench", tiny, *quick, "--only", "1", "--no-memory", "--scope", "end-to-end", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["scope"] == "end-to-end"
    command("bench", tiny, *quick, "--only", "1").refused(2, "13x17", "--imgsz 16x20")


def test_strict_is_code_7_when_the_machine_was_not_shown_to_be_quiet(command: Command, tiny: Path) -> None:
    quick = ("--imgsz", "16", "--runs", "1", "--warmup", "0", "--pause", "0", "--only", "1", "--no-memory")
    assert command("bench", tiny, *quick).code == 0
    done = command("bench", tiny, *quick, "--strict")
    assert done.code == 7
    assert "cannot be trusted" in done.err.splitlines()[-1]


def test_a_peer_that_cannot_run_is_named_and_left_out(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "nafnet_deploy.engines.openvino", raising=False)
    done = command("bench", tiny, *QUICK, "--only", "1", "--no-memory", "--peers")
    assert done.code == 0, done.err
    assert "OpenVINO is left out" in done.err
    assert "PyTorch compiled is left out" in done.err


@pytest.mark.parametrize("form", [[], ["--scale"]], ids=["table", "scale"])
def test_a_graph_has_no_network_for_the_engines_that_run_one(command: Command, tiny: Path, form: list[str]) -> None:
    form = form or list(QUICK)
    for name in ("pytorch", "onnxruntime-naive", "onnxruntime-split"):
        command("bench", tiny, *form, "--engine", name).refused(
            2, name, "tiny.onnx holds its graph alone", "checkpoint"
        )


def test_a_network_is_not_timed_without_torch(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    command("bench", tiny, *QUICK, "--engine", "pytorch").refused(3, "torch", "nafnet-deploy[export]")


@pytest.mark.parametrize("option", ["--engine", "--baseline"])
@pytest.mark.parametrize("form", [[], ["--scale"]], ids=["table", "scale"])
def test_an_unknown_engine_is_refused_before_anything_is_exported(
    command: Command, tiny: Path, option: str, form: list[str]
) -> None:
    checkpoint = tiny.with_suffix(".safetensors")
    command("bench", checkpoint, *form, option, "pytorch-compiled").refused(2, "'pytorch-compile'")
    command("bench", checkpoint, *form, option, "bogus").refused(2, "'bogus'", "onnxruntime-split", "auto")


def test_scale_in_which_nothing_ran_is_code_6(command: Command, tiny: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("scale = true\nonly = 1\nmegapixels = []\nbatches = []\nruns = 1\n")
    done = command("bench", tiny, "--recipe", recipe, "--engine", "onnxruntime-cuda", "--json")
    assert done.code == 6
    assert done.err.splitlines()[-1].startswith("nafdeploy: nothing ran: ")
    assert not ScaleReport.from_json(done.out)


def test_ctrl_c_in_scale_prints_the_points_that_are_finished(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def third_is_interrupted(module: str, request: object) -> ProcessCost:
        asked.append(request)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ProcessCost(1.0, 10.0, None, (2.0,))

    monkeypatch.setattr("nafnet_deploy.benchmarks.process_cost.measure_process", third_is_interrupted)
    recipe = tmp_path / "r.toml"
    recipe.write_text("scale = true\nonly = 1\nmegapixels = [0.004, 0.016]\nbatches = [1, 2]\nruns = 1\n")
    done = command("bench", tiny, "--recipe", recipe, "--json")
    assert done.code == 130
    report = ScaleReport.from_json(done.out)
    assert [p.shape[0] for p in report.points] == [1, 2]
    assert f"{report.missing} of {report.missing + 2} points were not reached" in done.err


def test_scale_gives_a_report_of_its_own(command: Command, tiny: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("scale = true\nonly = 2\nmegapixels = [0.004, 0.016]\nbatches = [2]\nthreads = 1\nruns = 2\n")
    done = command("bench", tiny, "--recipe", recipe, "--json")
    assert done.code == 0, done.err
    report = ScaleReport.from_json(done.out)
    assert [p.shape for p in report.points if p.series == "megapixels"] == [(1, 3, 64, 64), (1, 3, 128, 128)]
    assert all(len(point.runs_ms) == 2 and point.peak_mib for point in report.points)
    assert "ONNX Runtime: time grows as megapixels^" in done.err
