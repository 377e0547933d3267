"""Real plans on a real GPU: built by TensorRT-RTX, run, compared with the golden file and with themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nafnet_deploy.engines import tensorrt_open
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.build import cached_plan
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.cuda.base import open_cuda
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.engines.tensorrt_runner import TensorRTEngine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle, open_bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.run import run_parity

pytestmark = pytest.mark.gpu
RTX = "tensorrt-rtx"


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The tiny network, and a cache of plans of its own."""
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path / "cache"))
    return open_bundle(tiny)


def plan_of(bundle: Bundle, largest: str = "256x256") -> bytes:
    recipe = BuildRecipe(target=RTX, max_shape=largest, opt_shape="64x64")
    return cached_plan(bundle, recipe, load_library(RTX)).file.path.read_bytes()


def test_the_first_run_builds_a_plan_and_the_second_finds_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    open_engine(RTX, bundle).close()
    monkeypatch.setattr(tensorrt_open, "cached_plan", lambda *_: pytest.fail("it built a plan again"))
    with open_engine(RTX, bundle) as engine:
        assert engine.name.startswith("tensorrt-rtx 1.")


def test_every_iteration_agrees_with_the_golden_file(bundle: Bundle) -> None:
    report = run_parity(bundle, engine=RTX)
    assert report, report.verdict()


@pytest.mark.parametrize("side", [16, 64, 256])
def test_a_cuda_graph_gives_what_plain_calls_give(bundle: Bundle, side: int) -> None:
    library, plan = load_library(RTX), plan_of(bundle)
    batch = natural_batch((1, 3, side, side), seed=0)
    with (
        TensorRTEngine(library, open_cuda(), plan, "plain", graphs=False) as plain,
        TensorRTEngine(library, open_cuda(), plan, "graphs") as recorded,
    ):
        wanted = restore_batch(plain, batch)
        for _ in range(3):
            assert np.array_equal(restore_batch(recorded, batch), wanted)
        assert recorded._graph is not None
        assert recorded.device_ms is not None
        assert recorded.device_ms > 0


def test_shapes_may_change_back_and_forth(bundle: Bundle) -> None:
    with (
        open_engine("onnxruntime", bundle) as reference,
        TensorRTEngine(load_library(RTX), open_cuda(), plan_of(bundle), "changing") as engine,
    ):
        for side in (64, 32, 64, 64, 64, 128, 32, 32):
            batch = natural_batch((1, 3, side, side), seed=side)
            assert np.abs(restore_batch(engine, batch) - restore_batch(reference, batch)).max() < 2e-5


def test_a_shape_outside_the_plan_is_refused_and_the_engine_goes_on(bundle: Bundle) -> None:
    with TensorRTEngine(load_library(RTX), open_cuda(), plan_of(bundle, "64x64"), "small") as engine:
        with pytest.raises(EngineError, match="outside the shapes of the plan"):
            restore_batch(engine, natural_batch((1, 3, 128, 128), seed=0))
        restore_batch(engine, natural_batch((1, 3, 64, 64), seed=0))


@pytest.mark.parametrize("damage", ["truncated", "random"])
def test_a_damaged_plan_that_is_trusted_is_refused_by_the_library_and_crashes_nothing(
    bundle: Bundle, tmp_path: Path, damage: str
) -> None:
    plan = plan_of(bundle)
    data = plan[: len(plan) // 2] if damage == "truncated" else np.random.default_rng(0).bytes(4096)
    path = tmp_path / "x.tensorrt-rtx.engine"
    path.write_bytes(data)
    with pytest.raises(EngineError, match="cannot load the plan"):
        open_engine(str(path), bundle, trust=True)


def test_auto_takes_the_plan_that_is_there(bundle: Bundle) -> None:
    open_engine(RTX, bundle).close()
    with open_engine("auto", bundle) as engine:
        assert engine.name.startswith(RTX)
