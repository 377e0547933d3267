"""Benchmark recipes: every committed one is read, and an impossible one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.benchmarks.recipe import BenchRecipe, read_bench_recipe
from nafnet_deploy.errors import ConfigError

SUITES = sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.toml"))


def test_every_suite_is_a_recipe_named_after_what_it_makes() -> None:
    assert SUITES
    for path in SUITES:
        recipe = read_bench_recipe(path, {})
        assert path.stem.startswith("scale-" if recipe.scale else "bench-")
        assert recipe.model in path.stem


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('model = "light"\nruns = 5\n')
    assert read_bench_recipe(path, {"runs": 7, "imgsz": None}) == BenchRecipe(model="light", runs=7)


def test_the_iterations_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("only = 3\n")
    assert read_bench_recipe(path, {"iterations": 2}) == BenchRecipe(iterations=2)
    assert read_bench_recipe(path, {"only": 2}) == BenchRecipe(only=2)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("rounds = 5\n")
    with pytest.raises(ConfigError, match="rounds"):
        read_bench_recipe(path, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0}, {"only": 0}, {"batch": 0}, {"runs": 0}, {"threads": 0}, {"warmup": -1}, {"pause": -0.1},
        {"pause": 61.0}, {"scope": "backward"}, {"scope": "end-to-end", "batch": 2}, {"imgsz": "big"},
        {"imgsz": "0"}, {"engines": ()}, {"megapixels": (0.0,)}, {"batches": (0,)},
        {"scale": True, "scope": "end-to-end"}, {"scale": True, "imgsz": "512"}, {"scale": True, "batch": 2},
        {"scale": True, "profile": True}, {"only": 1, "iterations": 2},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_impossible_is_refused_with_a_way_out(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        BenchRecipe(**wrong)  # type: ignore[arg-type]
    assert refused.value.mend


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 2, 4, 16]))
def test_a_size_fits_its_multiple_or_the_message_names_one_that_does(height: int, width: int, multiple: int) -> None:
    recipe = BenchRecipe(imgsz=f"{height}x{width}")
    try:
        assert recipe.size(multiple) == (height, width)
        assert height % multiple == width % multiple == 0
    except ConfigError as error:
        better = error.mend.removeprefix("Use --imgsz ").rstrip(".")
        assert all(side % multiple == 0 for side in BenchRecipe(imgsz=better).size(multiple))


@given(st.text())
def test_any_other_size_is_refused(text: str) -> None:
    try:
        height, width = BenchRecipe(imgsz=text).size(1)
    except ConfigError:
        return
    assert height > 0
    assert width > 0
