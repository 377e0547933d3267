"""How a scale report judges growth, bends and what does not fit. The times are given, not measured."""

from __future__ import annotations

import pytest

from nafnet_deploy.benchmarks.process_cost import ProcessCost
from nafnet_deploy.benchmarks.scale import ScaleReport, Shape, run_scale
from nafnet_deploy.errors import ConfigError, EngineError

SIZES = (0.25, 1.0, 4.0)


def cost(shape: Shape, exponent: float = 1.0, factor: float = 1.0) -> ProcessCost:
    pixels = shape[0] * shape[2] * shape[3] / 1e6
    return ProcessCost(100.0, 200 + 1000 * pixels, None, (100 * pixels**exponent * factor,) * 3)


def scale(measure: object, **options: object) -> ScaleReport:
    return run_scale(["a"], measure, "toy", "fp32", 3, 4, 3, SIZES, (1, 2), 3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [0.9, 1.0, 1.3])
def test_growth_is_the_exponent_of_the_pixels(exponent: float) -> None:
    report = scale(lambda label, shape, threads: cost(shape, exponent))
    assert report.growth("a") == pytest.approx(exponent, abs=0.01)


def test_the_plan_covers_sizes_batches_and_threads() -> None:
    report = scale(lambda label, shape, threads: cost(shape))
    assert [p.series for p in report.points] == ["batch"] * 2 + ["threads"] * 3 + ["megapixels"] * 3
    assert [p.shape[2:] for p in report.points if p.series == "megapixels"] == [(500, 500), (1000, 1000), (2000, 2000)]
    assert [p.shape[0] for p in report.points if p.series == "batch"] == [1, 2]
    assert [p.threads for p in report.points if p.series == "threads"] == [1, 2, 3]


def test_a_bend_is_named_with_its_place() -> None:
    def cliff(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        return cost(shape, factor=2.0 if shape[2] == 2000 else 1.0)

    assert scale(cliff).bends("a") == ["+100% per megapixel from 1.00 to 4.00"]
    assert "no step" in scale(lambda label, shape, threads: cost(shape)).words("a")


def test_what_the_same_point_differs_by_when_it_is_measured_again_is_no_bend() -> None:
    def uneven(again: float) -> ScaleReport:
        """256x256 is slower by that in the series of sizes; a megapixel of 4 costs half as much again."""
        seen: list[Shape] = []

        def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
            seen.append(shape)
            return cost(shape, factor=1 + again if len(seen) == 3 else 1.5 if shape[2] == 2000 else 1.0)

        return run_scale(["a"], measure, "toy", "fp32", 3, 4, 3, (0.065536, 1.0, 4.0), (1,), 1)

    quiet, wild = uneven(0.0), uneven(0.8)
    assert quiet.repeat("a") == pytest.approx(0.0)
    assert quiet.bends("a") == ["+50% per megapixel from 1.00 to 4.00"]
    assert wild.repeat("a") == pytest.approx(0.8)
    assert wild.bends("a") == []
    assert "no step changes a megapixel by more than 80% (one point measured again differs by 80%)" in wild.words("a")


def test_series_that_never_meet_say_nothing_of_repeating() -> None:
    report = run_scale(["a"], lambda label, shape, threads: cost(shape), "toy", "fp32", 3, 4, 3, SIZES, (), 1)
    assert report.repeat("a") is None
    assert "measured again" not in report.words("a")


def test_a_size_beyond_the_free_memory_is_left_out_and_says_so() -> None:
    asked: list[Shape] = []

    def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        asked.append(shape)
        return cost(shape)

    report = scale(measure, free_mib=lambda: 2000.0)
    left = next(p for p in report.points if p.shape[2] == 2000)
    assert "GiB expected" in left.why_not
    assert left.shape not in asked


def test_an_engine_that_fails_at_a_size_is_recorded_and_the_rest_goes_on() -> None:
    def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        if shape[2] == 1000:
            raise EngineError("out of memory.")
        return cost(shape)

    report = scale(measure)
    assert [p.why_not for p in report.points if p.series == "megapixels"] == ["", "out of memory.", ""]
    assert report
    assert report.growth("a") == pytest.approx(1.0, abs=0.01)


def test_an_interrupted_run_keeps_the_points_it_finished_and_counts_those_missing() -> None:
    def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        if shape[2] == 1000:
            raise KeyboardInterrupt
        return cost(shape)

    report = scale(measure)
    assert report
    assert (len(report.points), report.missing) == (6, 2)
    assert all(p.runs_ms for p in report.points)
    assert ScaleReport.from_json(report.to_json()) == report
    assert scale(lambda label, shape, threads: cost(shape)).missing == 0


def test_where_nothing_ran_the_report_is_false_and_nothing_is_said_of_growth() -> None:
    def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        raise EngineError("out of memory.")

    report = scale(measure)
    assert not report
    assert "too few sizes" in report.words("a")
    assert report.table().row_count == len(report.points)


def test_json_comes_back_equal_and_another_format_is_refused() -> None:
    report = scale(lambda label, shape, threads: cost(shape))
    assert ScaleReport.from_json(report.to_json()) == report
    with pytest.raises(ConfigError, match="format 9"):
        ScaleReport.from_json(report.to_json().replace('"schema": 1', '"schema": 9'))
