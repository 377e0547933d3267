"""Studies with committed results: every network learns, parts of the block, local means against tiles."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.config import ARCHITECTURES, ATTENTIONS, GATES, ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.registry import build, count_parameters
from nafnet_deploy.released import find_bundle, released_models

ROOT = Path(__file__).parents[2] / "benchmarks"
TRAININGS: dict[str, ModelConfig] = runpy.run_path(str(ROOT / "short_trainings.py"))["configurations"]()


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))
    return found


def test_every_gate_attention_and_frequency_part_is_trained() -> None:
    configs = TRAININGS.values()
    assert {c.gate for c in configs} >= set(GATES)
    assert {c.attention for c in configs} >= set(ATTENTIONS)
    assert {c.architecture for c in configs} == set(ARCHITECTURES)
    for part in ("frequency_input", "frequency_skips", "do_conv"):
        assert any(getattr(c, part) for c in configs)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_short_training_beats_its_start_and_the_unchanged_input(name: str) -> None:
    row = result("short-trainings.json")["networks"][name]
    assert row["trained"] > row["start"]
    assert row["trained"] > row["unchanged"]
    assert row["without_gradient"] == []
    assert row["parameters"] == count_parameters(build(TRAININGS[name])), "run: python benchmarks/short_trainings.py"


@pytest.mark.parametrize("name", ["denoise-light", "deblur-light", "restore-light"])
def test_evaluations_are_of_the_graphs_in_the_package(name: str) -> None:
    graph = find_bundle(name).manifest.graph_sha256
    found = sorted((ROOT / "results").glob(f"eval-{name}-*.json"))
    assert found
    for path in found:
        assert result(path.name)["graph_sha256"] == graph, f"measure {path.name} again: nafdeploy eval {name} ..."


def test_designs_of_the_ablation_are_those_of_its_table_and_had_the_same_budget() -> None:
    report = result("ablation-light.json")
    designs = tomllib.loads((ROOT / "ablation.toml").read_text(encoding="utf-8"))
    assert set(report["designs"]) == set(designs)
    for name, row in report["designs"].items():
        assert row["design"] == designs[name]
        assert row["steps"] > 0
        assert all(math.isfinite(p) for p in row["psnr"])
        assert len(row["cpu_ms_256"]) == len(report["designs"]["sca"]["cpu_ms_256"])


def test_tiles_were_compared_with_the_whole_picture_with_local_means_and_without() -> None:
    report = result("local-means.json")
    assert set(report["models"]) <= set(released_models())
    for windows in report["models"].values():
        assert len(windows) > 1
        assert "0" in windows
        for rows in windows.values():
            for row in rows:
                assert all(math.isfinite(row[f"agreement_{side}"]) for side in report["tiles"])


def test_a_suite_run_twice_agrees_within_its_stated_uncertainty() -> None:
    pairs = runpy.run_path(str(ROOT / "twice.py"))["pairs"]
    names = ("bench-medium-iterations.json", "bench-medium-iterations-again.json")
    first, second = (BenchmarkReport.from_json((ROOT / "results" / n).read_text(encoding="utf-8"), n) for n in names)
    assert first.rows[0].rounds_ms != second.rows[0].rounds_ms
    found = pairs(first, second)
    assert len(found) == 5 * 3 + 4
    assert sum(agree for *_, agree in found) >= 0.9 * len(found)
    with pytest.raises(ConfigError, match="different benchmarks"):
        pairs(first, dataclasses.replace(second, shape=(1, 3, 64, 64)))


def test_a_suite_whose_rows_swap_places_does_not_agree() -> None:
    pairs = runpy.run_path(str(ROOT / "twice.py"))["pairs"]
    name = "bench-medium-iterations.json"
    report = BenchmarkReport.from_json((ROOT / "results" / name).read_text(encoding="utf-8"), name)
    slow = [row.speedup for row in report.rows if row.label == "ONNX Runtime"]
    rows = iter(slow)
    swapped = tuple(
        dataclasses.replace(row, speedup=next(rows)) if row.label == "OpenVINO" else row for row in report.rows
    )
    found = {name: agree for name, *_, agree in pairs(report, dataclasses.replace(report, rows=swapped))}
    assert not any(agree for name, agree in found.items() if name.startswith("N =") and name.endswith(" OpenVINO"))
    assert all(agree for name, agree in found.items() if name.endswith("ONNX Runtime"))
