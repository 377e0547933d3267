"""Plans of the parts of a split bundle: real builds by TensorRT-RTX, for which no GPU is needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.engines import tensorrt_parts_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.plan import ShapeProfile
from nafnet_deploy.engines.tensorrt_parts_build import build_parts, part_profiles
from nafnet_deploy.engines.tensorrt_parts_plan import PartsFile, open_parts, parts_sidecar
from nafnet_deploy.errors import CheckpointError, EngineError, ExportError
from nafnet_deploy.manifest import HEAD, STEP, TAIL, Bundle, PartSpec, TensorSpec
from nafnet_deploy.released import find_bundle

SMALL = {"max_shape": "2x64x64", "gpus": ("sm86",)}


@pytest.fixture(scope="session")
def split(tiny_split: Path) -> Bundle:
    return find_bundle(tiny_split)


@pytest.fixture(scope="session")
def built(split: Bundle, rtx: Any, tmp_path_factory: pytest.TempPathFactory) -> PartsFile:
    folder = tmp_path_factory.mktemp("parts")
    told: list[float] = []
    made = build_parts(split, BuildRecipe(output=str(folder), **SMALL), rtx, lambda phase, share: told.append(share))
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert not made.reused
    return made.file


def test_each_part_has_a_plan_and_all_one_manifest(split: Bundle, built: PartsFile) -> None:
    manifest = open_parts(built.path).manifest
    assert list(manifest.plans) == [HEAD, STEP, TAIL]
    assert manifest.model == split.manifest
    assert manifest.graph_sha256 == split.manifest.graph_sha256
    for name, plan in manifest.plans.items():
        assert plan.plan_bytes == built.plan(name).stat().st_size
        assert {spec.name for spec in plan.inputs} == {spec.name for spec in split.manifest.parts[name].inputs}
        assert plan.precision_built == "fp32"
    assert parts_sidecar(built.plan(STEP)) == built.path


def test_inner_sizes_follow_from_the_pictures(built: PartsFile) -> None:
    profiles = {profile.input: profile for profile in built.manifest.plans[STEP].profiles}
    features, state = profiles["features"], profiles["state"]
    assert (features.min, features.opt, features.max) == ((1, 16, 1, 1), (1, 16, 16, 16), (2, 16, 16, 16))
    assert dataclasses.replace(state, input=features.input) == features
    assert profiles["context_0"].max == (2, 1, 16, 16)


def test_a_size_that_does_not_follow_is_refused() -> None:
    part = PartSpec((TensorSpec("x", "float32", ("batch", 8, "depth/4", "width*3/2")),), ())
    picture = ShapeProfile("input", (1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 16, 24))
    with pytest.raises(EngineError, match="depth/4"):
        part_profiles(part, picture, ("batch", 3, "height", "width"))
    wide = dataclasses.replace(part, inputs=(TensorSpec("x", "float32", ("batch", 8, "height/4", "width*3/2")),))
    assert part_profiles(wide, picture, ("batch", 3, "height", "width"))[0].max == (2, 8, 4, 36)


def test_plans_are_reused_until_one_is_touched(split: Bundle, built: PartsFile, rtx: Any, tmp_path: Path) -> None:
    for path in built.path.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    recipe = BuildRecipe(output=str(tmp_path), **SMALL)
    assert build_parts(split, recipe, rtx).reused
    step = tmp_path / built.plan(STEP).name
    step.write_bytes(step.read_bytes()[:-1])
    with pytest.raises(EngineError, match="hash differs"):
        open_parts(tmp_path / built.path.name)
    step.unlink()
    with pytest.raises(CheckpointError, match=r"step.engine does not exist"):
        open_parts(tmp_path / built.path.name)
    assert not build_parts(split, recipe, rtx).reused
    assert build_parts(split, recipe, rtx).reused


def test_a_build_that_fails_at_the_last_part_leaves_nothing(
    split: Bundle, rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tensorrt_parts_build.build_from

    def failing(part: Bundle, *arguments: Any) -> Any:
        if part.graph.name.endswith(".tail.onnx"):
            raise ExportError("the library built nothing.")
        return real(part, *arguments)

    monkeypatch.setattr(tensorrt_parts_build, "build_from", failing)
    with pytest.raises(ExportError):
        build_parts(split, BuildRecipe(output=str(tmp_path), **SMALL), rtx)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_nothing(split: Bundle, rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        build_parts(split, BuildRecipe(output=str(tmp_path), **SMALL), rtx)
    assert list(tmp_path.iterdir()) == []
