"""`run_bench` and its report, on toy engines. Nothing here depends on how fast they are."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from nafnet_deploy.benchmarks import run
from nafnet_deploy.benchmarks.claimed import claimed_table
from nafnet_deploy.benchmarks.floor import Gemm
from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.benchmarks.run import run_bench
from nafnet_deploy.benchmarks.statistics import frames_per_second, speed_ratio, summarize
from nafnet_deploy.benchmarks.tables import against
from nafnet_deploy.errors import ConfigError, EngineError, UsageError
from nafnet_deploy.parity.compare import EngineFactory
from tests import toy

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def engines(**functions: toy.Network) -> dict[str, EngineFactory]:
    return {label: lambda n, f=f: toy.ToyEngine(f, n) for label, f in functions.items()}  # type: ignore[misc]


def wrong_at_two(x: NDArray[Any], n: int) -> NDArray[Any]:
    return toy.network(x, n) + np.float32(1e-3 if n == 2 else 0)


def bench(**functions: toy.Network) -> BenchmarkReport:
    return run_bench(engines(**functions), "toy", (1, 2, 3), (2, 3, 8, 8), runs=5, warmup=1, pause=0)


def text(table: Table) -> str:
    console = Console(file=io.StringIO(), width=250)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    return bench(slow=toy.network, fast=toy.network)


def assert_consistent(report: BenchmarkReport) -> None:
    """Every statistic follows from the stored times."""
    for row in report.rows:
        assert row.time == summarize(row.rounds_ms)
        assert row.fps == frames_per_second(row.time.median_ms, report.shape[0])
        baseline = next(r for r in report.rows if r.baseline and r.iteration == row.iteration)
        if row.speedup is not None:
            assert row.agreement.passed
            assert row.speedup == speed_ratio(baseline.rounds_ms, row.rounds_ms)
        assert (row.floor_share is None) is (report.rate is None)
        if report.rate is not None and row.gmacs is not None:
            assert len(report.rate.rounds_ms[str(row.iteration)]) == len(row.rounds_ms)
            assert row.floor_share == pytest.approx(report.rate.share(row.iteration, row.gmacs * 1e9, row.rounds_ms))


def test_a_row_per_iteration_and_engine(report: BenchmarkReport) -> None:
    assert report
    assert [(row.iteration, row.label, row.baseline) for row in report.rows] == [
        (n, label, label == "slow") for n in (1, 2, 3) for label in ("slow", "fast")
    ]
    assert all(row.time.n == 5 and row.engine == "toy cpu" for row in report.rows)
    assert_consistent(report)


def test_the_matrix_product_takes_its_turn_at_every_iteration_of_every_round() -> None:
    turns: list[int] = []
    gemm = Gemm("toy", 64, 1.0, lambda: turns.append(1))
    report = run_bench(
        engines(a=toy.network, b=toy.network),
        "toy",
        (1, 3),
        (1, 3, 8, 8),
        4,
        2,
        pause=0,
        gemm=gemm,
        macs={1: 1e6, 3: 2e6},
    )
    assert len(turns) == (4 + 2) * 2
    assert report.rate is not None
    assert set(report.rate.rounds_ms) == {"1", "3"}
    assert [row.label for row in report.rows] == ["a", "b"] * 2
    assert_consistent(report)
    assert BenchmarkReport.from_json(report.to_json()) == report


def test_without_the_networks_work_no_product_is_timed() -> None:
    gemm = Gemm("toy", 64, 1.0, lambda: pytest.fail("it was timed"))
    report = run_bench(engines(a=toy.network), "toy", (1,), (1, 3, 8, 8), 2, 0, pause=0, gemm=gemm)
    assert report.rate is None
    assert report.rows[0].floor_share is None


def test_engines_are_compared_with_a_peer_that_is_not_the_baseline() -> None:
    report = bench(base=toy.network, naive=toy.network, ours=toy.network, wrong=wrong_at_two)
    words = against(report, "naive", ["ours", "wrong"]).splitlines()
    assert [line.split(":")[0] for line in words] == [
        f"Times as fast as naive at N = {n} (95 % interval)" for n in (1, 2, 3)
    ]
    ratio = speed_ratio(report.rows[1].rounds_ms, report.rows[2].rounds_ms)
    assert f"ours {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" in words[0]
    assert ["wrong" in line for line in words] == [True, False, True]  # its pictures disagree at N = 2
    assert not against(report, "nobody", ["ours"])


def test_the_headline_names_what_it_compares(report: BenchmarkReport) -> None:
    headline = report.headline(3)
    assert headline.startswith("N = 3, 2x3x8x8 fp32, forward: fast is ")
    assert "times as fast as slow" in headline
    assert "No headline" in report.headline(7)


def test_no_headline_when_the_outputs_disagree() -> None:
    report = bench(slow=toy.network, fast=wrong_at_two)
    assert not report
    wrong = next(row for row in report.rows if row.iteration == 2 and row.label == "fast")
    assert wrong.speedup is None
    assert "No headline at N = 2: the outputs disagree" in report.headline(2)
    assert "times as fast" in report.headline(1)
    assert "disagrees" in text(claimed_table(report))
    assert wrong.agreement.fault in text(report.table())


def test_a_baseline_that_is_not_finite_gives_no_headline() -> None:
    report = bench(slow=lambda x, n: x * np.float32(np.nan), fast=toy.network)
    assert not report
    assert all(row.speedup is None for row in report.rows)


def mixed(precision: str, **engines: tuple[str, float]) -> BenchmarkReport:
    """A report of engines, by (own name, error of their pictures)."""

    def factory(name: str, error: float) -> EngineFactory:
        def open_at(n: int) -> toy.ToyEngine:
            engine = toy.ToyEngine(lambda x, n: toy.network(x, n) + np.float32(error), n)
            engine.name = name
            return engine

        return open_at

    opened = {label: factory(*given) for label, given in engines.items()}
    return run_bench(opened, "toy", (1,), (1, 3, 8, 8), runs=2, warmup=0, precision=precision, pause=0)


@pytest.mark.parametrize("first", ["exact", "coarse"])
def test_a_pair_is_held_to_the_limits_of_its_coarser_engine_whichever_is_the_baseline(first: str) -> None:
    pair = {"exact": ("toy cpu", 0.0), "coarse": ("toy cpu bf16", 5e-3)}
    report = mixed("fp32", **{first: pair.pop(first)}, **pair)
    assert report, report.headline(1)
    assert [row.limits for row in report.rows] == ["fp32" if first == "exact" else "bf16", "bf16"]
    assert set(report.limits) == {row.limits for row in report.rows}
    assert ("agree, bf16 limits" in text(report.table())) is (first == "coarse")
    assert not mixed("fp32", exact=("toy cpu", 0.0), wrong=("toy cpu", 5e-3))


def test_a_row_says_what_its_engine_computed_in_and_a_ratio_names_both() -> None:
    report = mixed("fp16", plan=("toy sm86 fp16", 0.0), widened=("toy cpu", 1e-4), other=("toy cpu", 0.0))
    assert report
    assert [row.precision for row in report.rows] == ["fp16", "fp32", "fp32"]
    assert {row.limits for row in report.rows} == {"fp16"}
    assert "times as fast as plan [fp32 against fp16, pictures agree to 80.0 dB]" in report.headline(1)
    both = mixed("fp16", widened=("toy cpu", 0.0), other=("toy cpu", 0.0)).headline(1)
    assert "times as fast as widened [both in fp32]" in both


def test_one_engine_alone() -> None:
    report = bench(only=toy.network)
    assert report
    assert "nothing to compare" in report.headline(1)


def test_engines_are_closed_and_progress_reaches_the_end() -> None:
    opened: list[toy.ToyEngine] = []

    def open_at(n: int) -> toy.ToyEngine:
        opened.append(toy.ToyEngine(toy.network, n))
        return opened[-1]

    told: list[tuple[int, int]] = []
    run_bench(
        {"a": open_at, "b": open_at},
        "toy",
        (1, 2),
        (1, 3, 8, 8),
        runs=3,
        warmup=1,
        pause=0,
        on_progress=lambda *step: told.append(step),
    )
    assert all(engine.closed for engine in opened)
    assert [(engine.iterations, engine.runs) for engine in opened] == [(n, 1 + 1 + 3) for n in (1, 1, 2, 2)]
    assert [done for done, _ in told] == list(range(1, 17))
    assert {total for _, total in told} == {16}


def test_engines_that_do_not_fit_into_memory_together_are_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    megabytes = 40
    opened: list[toy.ToyEngine] = []

    def open_at(n: int) -> toy.ToyEngine:
        held = np.ones((megabytes, 10**6), np.uint8)
        opened.append(toy.ToyEngine(lambda x, n: toy.network(x, n) + np.float32(0 * held[0, 0]), n))
        return opened[-1]

    def free(amount: int) -> None:
        monkeypatch.setattr(run, "available_memory", lambda: amount * 10**6)

    def bench_at(*iterations: int) -> BenchmarkReport:
        return run_bench({"a": open_at, "b": open_at}, "toy", iterations, (1, 3, 8, 8), runs=1, warmup=0, pause=0)

    free(5 * megabytes)  # enough for the two of the next N, too little for those of the four that are left after it
    with pytest.raises(EngineError, match=r"do not fit into memory together.*GiB are free") as refused:
        bench_at(1, 2, 3, 4, 5, 6)
    assert "--only" in refused.value.mend
    assert [engine.iterations for engine in opened] == [1, 1, 2, 2]
    assert all(engine.closed for engine in opened)
    assert bench_at(1, 2, 3, 4)
    free(megabytes)  # not even the next
    with pytest.raises(EngineError, match="do not fit"):
        bench_at(1, 2)
    assert bench_at(6)


def test_json_comes_back_equal(report: BenchmarkReport) -> None:
    for each in (report, bench(slow=toy.network, fast=wrong_at_two)):
        assert BenchmarkReport.from_json(each.to_json()) == each


def test_json_of_another_format(report: BenchmarkReport) -> None:
    with pytest.raises(ConfigError, match="format 2"):
        BenchmarkReport.from_json(report.to_json().replace('"schema": 4', '"schema": 2'))
    with pytest.raises(ConfigError, match="passed"):
        BenchmarkReport.from_json(report.to_json().replace('"passed": true', '"passed": false'))


def test_the_claimed_table_has_ours_beside_it(report: BenchmarkReport) -> None:
    found = text(claimed_table(report, psnr=[30.0, 30.25, 30.5]))
    assert found.count(" ms ") == 5 + 2 * 3  # claimed for every N, ours for the three that were timed
    assert "+1.70 dB" in found
    assert "+0.50 dB" in found
    assert "unverified" in found
    assert report.table().row_count == 6


def test_a_report_without_rows_proves_nothing(report: BenchmarkReport) -> None:
    assert not dataclasses.replace(report, rows=())


@pytest.mark.parametrize("iterations", [(), (0,), (1, -2)])
def test_nothing_to_time(iterations: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="nothing to time"):
        run_bench(engines(a=toy.network), "toy", iterations)


def test_no_engines_and_an_unknown_precision() -> None:
    with pytest.raises(UsageError, match="nothing to time"):
        run_bench({}, "toy")
    with pytest.raises(ConfigError, match="int3"):
        run_bench(engines(a=toy.network), "toy", precision="int3")


def test_committed_results_are_reports_whose_figures_follow_from_their_times() -> None:
    for path in sorted(RESULTS.glob("bench-*.json")):
        committed = BenchmarkReport.from_json(path.read_text(encoding="utf-8"), path.name)
        assert committed, f"{path.name}: the outputs disagree"
        assert_consistent(committed)
