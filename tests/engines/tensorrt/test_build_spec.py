"""Shapes, memory, names and keys are decided, or refused, before any library is asked."""

import dataclasses
import re
from pathlib import Path

import pytest

from nafnet_deploy.engines.build_recipe import BuildRecipe, read_build_recipe, read_shape
from nafnet_deploy.engines.build_spec import build_spec
from nafnet_deploy.engines.gpus import GPUS, memory_gib, read_gpus
from nafnet_deploy.errors import ConfigError, EngineError
from tests.engines.tensorrt.graphs import manifest

RECIPES = sorted((Path(__file__).parents[3] / "engines").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_serves_the_default_network_and_fits_its_card(path: Path) -> None:
    spec = build_spec(manifest(), read_build_recipe(path, {}))
    assert spec.activation_bytes < spec.gpu_memory
    assert all(side % 64 == 0 or side == 2160 for p in spec.profiles for side in p.opt[2:])


def test_the_recipes_the_issue_names_are_there() -> None:
    wanted = {"rtx-3090", "rtx-4090", "rtx-5090", "h100", "a100", "jetson-orin", "portable"}
    assert wanted == {path.stem for path in RECIPES}


def test_a_recipe_is_read_strictly_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('gpus = ["sm86"]\nmax_shape = "512x512"\n')
    recipe = read_build_recipe(path, {"max_shape": "2x256x256", "workspace": None})
    assert (recipe.gpus, recipe.max_shape, recipe.workspace) == (("sm86",), "2x256x256", None)
    path.write_text("gpu = 1\n")
    with pytest.raises(ConfigError, match=r"unknown key 'gpu'.*'gpus'"):
        read_build_recipe(path, {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"target": "tensort"}, "Did you mean 'tensorrt'"),
        ({"gpus": ("sm85",)}, "'sm85' is unknown"),
        ({"gpus": ("portable", "sm86")}, "'portable,sm86' names no GPUs.*portable alone"),
        ({"gpus": ("", " ")}, "names no GPUs"),
        ({"gpus": ("sm90",)}, "does not build for sm90 .H100.*--target tensorrt"),
        ({"target": "tensorrt", "gpus": ("sm86", "sm89")}, "one GPU at a time"),
        ({"min_shape": "0x4"}, "--min-shape 0x4 is not a shape"),
        ({"opt_shape": "1x2x3x4"}, "is not a shape"),
        ({"max_shape": "axb"}, "is not a shape"),
        ({"max_shape": "99999999x4"}, "is not a shape"),
        ({"workspace": 0}, "--workspace 0"),
        ({"gpu_memory": -1.0}, "--gpu-memory"),
        ({"gpu_memory": float("nan")}, "--gpu-memory"),
        ({"iterations": 0}, "0 iterations"),
        ({"timing_cache": "x"}, "times nothing"),
    ],
)
def test_an_impossible_recipe_is_refused_in_words(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BuildRecipe(**values)  # type: ignore[arg-type]


def test_shapes_and_gpus_are_read_as_people_write_them() -> None:
    assert read_shape("256", "-") == (1, 256, 256)
    assert read_shape("480x640", "-") == (1, 480, 640)
    assert read_shape("4x480x640", "-") == (4, 480, 640)
    assert read_gpus("SM_89, sm86,sm86") == ("sm86", "sm89")
    assert read_gpus("portable") == ()
    assert memory_gib(("sm86", "sm120")) == GPUS["sm86"].memory_gib


def test_a_dynamic_graph_gets_one_multiple_to_full_hd_around_256() -> None:
    (profile,) = build_spec(manifest(), BuildRecipe()).profiles
    assert (profile.min, profile.opt, profile.max) == ((1, 3, 4, 4), (1, 3, 256, 256), (1, 3, 1080, 1920))
    (profile,) = build_spec(manifest(size_multiple=16), BuildRecipe()).profiles
    assert (profile.min, profile.max) == ((1, 3, 16, 16), (1, 3, 1088, 1920))


@pytest.mark.parametrize(("scale", "largest"), [(2, (540, 960)), (3, (360, 640)), (4, (272, 480))])
def test_a_network_that_enlarges_restores_up_to_full_hd(scale: int, largest: tuple[int, int]) -> None:
    (profile,) = build_spec(dataclasses.replace(manifest(), scale=scale), BuildRecipe()).profiles
    assert profile.max == (1, 3, *largest)


def test_attention_along_rows_counts_with_the_width_and_the_advice_fits() -> None:
    rows = dataclasses.replace(manifest(), activation_bytes_per_column=12.0)
    wide, tall = (BuildRecipe(gpus=("sm86",), max_shape=shape) for shape in ("256x4096", "4096x256"))
    assert (
        build_spec(rows, tall).activation_bytes
        < build_spec(rows, dataclasses.replace(wide, gpu_memory=999.0)).activation_bytes
    )
    with pytest.raises(EngineError, match="256x4096") as caught:
        build_spec(rows, wide)
    tile = re.search(r"--max-shape (\d+)x", caught.value.mend)
    assert tile is not None
    assert build_spec(rows, dataclasses.replace(wide, max_shape=tile[1]))
    with pytest.raises(EngineError, match="about"):
        build_spec(rows, dataclasses.replace(wide, max_shape=str(int(tile[1]) + 32)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_shape": "64x64"}, ((1, 4, 4), (1, 64, 64), (1, 64, 64))),
        ({"opt_shape": "2048x2048"}, ((1, 4, 4), (1, 2048, 2048), (1, 2048, 2048))),
        ({"min_shape": "512x512"}, ((1, 512, 512), (1, 512, 512), (1, 1080, 1920))),
        ({"max_shape": "4x256x256"}, ((1, 4, 4), (1, 256, 256), (4, 256, 256))),
    ],
)
def test_what_is_left_out_bends_to_what_is_given(given: dict[str, str], expected: tuple[tuple[int, ...], ...]) -> None:
    (profile,) = build_spec(manifest(), BuildRecipe(**given)).profiles  # type: ignore[arg-type]
    assert tuple((s[0], s[2], s[3]) for s in (profile.min, profile.opt, profile.max)) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min_shape": "512x512", "opt_shape": "256x256"}, "--min-shape 512x512 exceeds --opt-shape 256x256"),
        ({"opt_shape": "256x512", "max_shape": "512x256"}, "--opt-shape 256x512 exceeds --max-shape 512x256"),
        ({"min_shape": "2x4x4", "max_shape": "64x64"}, "--min-shape 2x4x4 exceeds"),
        ({"max_shape": "333x512"}, "multiples of 4. Use --max-shape 336x512"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_spec(manifest(), BuildRecipe(**given))  # type: ignore[arg-type]


def test_a_fixed_graph_keeps_its_shape_and_takes_no_other() -> None:
    fixed = manifest((1, 3, 256, 256))
    spec = build_spec(fixed, BuildRecipe(gpus=("sm86",)))
    assert {spec.profiles[0].min, spec.profiles[0].opt, spec.profiles[0].max} == {(1, 3, 256, 256)}
    assert not spec.dynamic
    assert build_spec(fixed, BuildRecipe(max_shape="256x256")).profiles == spec.profiles
    with pytest.raises(EngineError, match="--max-shape 512x512 does not fit a graph of 1x256x256"):
        build_spec(fixed, BuildRecipe(max_shape="512x512"))


def test_more_iterations_than_the_graph_has_are_refused() -> None:
    assert build_spec(manifest(), BuildRecipe()).iterations == 3
    with pytest.raises(EngineError, match="6 iterations"):
        build_spec(manifest(), BuildRecipe(iterations=6))


def test_a_size_that_cannot_fit_is_refused_with_one_that_can() -> None:
    recipe = BuildRecipe(gpus=("sm86",), max_shape="8192x8192")
    with pytest.raises(EngineError, match=r"73\.7 GiB.*the RTX 3090 \(sm86\) has 24") as caught:
        build_spec(manifest(), recipe)
    tile = re.search(r"--max-shape (\d+x\d+) and --tile", caught.value.mend)
    assert tile is not None
    assert build_spec(manifest(), dataclasses.replace(recipe, max_shape=tile[1])).profiles[0].max[2] > 4000
    assert build_spec(manifest(), dataclasses.replace(recipe, gpu_memory=96.0)).gpu_memory == 96 * 2**30


def test_the_memory_of_this_machine_counts_where_the_plan_will_run_on_it() -> None:
    large = BuildRecipe(target="tensorrt", max_shape="8192x8192")
    assert build_spec(manifest(), large, "sm90", 141.0).gpus == ("sm90",)
    with pytest.raises(EngineError, match="has 40"):
        build_spec(manifest(), large, "sm80", 40.0)


@pytest.mark.parametrize(
    ("shape", "recipe", "name"),
    [
        (("b", 3, "h", "w"), BuildRecipe(gpus=("sm86",)), "light-n3-dynamic-fp32.sm86.tensorrt-rtx.engine"),
        ((1, 3, 256, 256), BuildRecipe(iterations=1), "light-n1-256x256-fp32.portable.tensorrt-rtx.engine"),
        ((4, 3, 64, 96), BuildRecipe(gpus=("sm89", "sm86")), "light-n3-64x96-b4-fp32.sm86-sm89.tensorrt-rtx.engine"),
        (("b", 3, "h", "w"), BuildRecipe(target="tensorrt"), "light-n3-dynamic-fp32.local.tensorrt.engine"),
    ],
)
def test_the_file_name_says_model_iterations_shape_precision_and_target(
    shape: tuple[int | str, ...], recipe: BuildRecipe, name: str
) -> None:
    assert build_spec(manifest(shape), recipe).file_name == name


def test_a_name_from_a_file_cannot_leave_the_folder() -> None:
    assert "/" not in build_spec(manifest(name="../../evil"), BuildRecipe()).file_name


def test_the_key_changes_with_whatever_changes_the_plan_and_with_nothing_else() -> None:
    base = BuildRecipe(gpus=("sm86",))

    def key(recipe: BuildRecipe = base, version: str = "1", device: str = "", **changes: object) -> str:
        return build_spec(manifest(**changes), recipe).key(version, device)

    others = [
        key(dataclasses.replace(base, gpus=("sm89",))),
        key(dataclasses.replace(base, gpus=())),
        key(dataclasses.replace(base, iterations=2)),
        key(dataclasses.replace(base, max_shape="512x512")),
        key(dataclasses.replace(base, workspace=512)),
        key(version="2"),
        key(device="H100"),
        key(sha256={".onnx": "1" * 64}),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert key(dataclasses.replace(base, gpu_memory=48.0, output="elsewhere"), name="other") == key()
