"""Pictures of reports."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from PIL import Image

from nafnet_deploy.benchmarks.plots import plot_cost, plot_scale
from nafnet_deploy.benchmarks.process_cost import ProcessCost
from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.benchmarks.run import run_bench
from nafnet_deploy.benchmarks.scale import ScaleReport, run_scale
from nafnet_deploy.errors import ConfigError, MissingDependency
from tests import toy


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    engines = {label: lambda n: toy.ToyEngine(toy.network, n) for label in ("a", "b")}
    return run_bench(engines, "toy", (1, 2, 3), (1, 3, 8, 8), runs=2, warmup=0, pause=0)


@pytest.fixture(scope="module")
def scale() -> ScaleReport:
    cost = ProcessCost(1.0, 100.0, None, (5.0,))
    return run_scale(["a"], lambda *_: cost, "toy", "fp32", 1, 4, 3, (0.1, 1.0), (1, 2), 2)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_known_quality_adds_a_part_to_the_picture(report: BenchmarkReport, tmp_path: Path) -> None:
    plot_cost([report], {}, tmp_path / "time.png")
    plot_cost([report], {"toy": [30.0, 31.0, 31.5]}, tmp_path / "both.png")
    assert size(tmp_path / "both.png")[0] == 2 * size(tmp_path / "time.png")[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both.png", "time.png"]


def test_every_engine_of_a_scale_report_is_in_the_legend(scale: ScaleReport, tmp_path: Path) -> None:
    plot_scale(scale, tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text(encoding="utf-8")
    for words in ("Memory against size", "Rate against threads", "<!-- a -->", "flat is linear"):
        assert words in text


def test_what_cannot_be_drawn_is_refused(report: BenchmarkReport, scale: ScaleReport, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no report"):
        plot_cost([], {}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="different shapes"):
        plot_cost([report, dataclasses.replace(report, shape=(1, 3, 16, 16))], {}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="not the name of a picture"):
        plot_scale(scale, tmp_path / "x.txt")
    with pytest.raises(ConfigError, match="cannot be written"):
        plot_scale(scale, tmp_path / "nowhere" / "x.png")
    with pytest.raises(ConfigError, match="no point"):
        plot_scale(dataclasses.replace(scale, points=()), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(
    scale: ScaleReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"nafnet-deploy\[plots\]"):
        plot_scale(scale, tmp_path / "x.png")
