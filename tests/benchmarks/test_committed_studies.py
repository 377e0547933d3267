"""Studies with committed results: every network learns, parts of the block, local means against tiles."""

from __future__ import annotations

import json
import math
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.config import ARCHITECTURES, ATTENTIONS, GATES, ModelConfig
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
