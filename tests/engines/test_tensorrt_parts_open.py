"""Which plans of a split bundle are loaded and which refused. The library is a double that computes their graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nafnet_deploy.engines import tensorrt_open, tensorrt_parts_open
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.engines.plan import Plan
from nafnet_deploy.engines.registry import open_anytime, open_engine
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.engines.tensorrt_parts_build import part_bundle
from nafnet_deploy.engines.tensorrt_parts_plan import PartsFile, write_parts
from nafnet_deploy.errors import CheckpointError, EngineError, MachineError
from nafnet_deploy.manifest import HEAD, STEP, Bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.released import find_bundle
from tests.cuda_double import NumpyCuda
from tests.plans import plan_manifest
from tests.tensorrt_parts_double import PartsLibrary, plans_of_graphs

GPU = LocalGpu("NVIDIA GeForce RTX 3090", "sm86", 24.0, "13.0")
RTX = "tensorrt-rtx"


@pytest.fixture
def bundle(tiny_split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A split bundle; no plan of this machine's user is found."""
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return find_bundle(tiny_split)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PartsLibrary]:
    """`machine(gpu)`: a machine with that GPU and the double of TensorRT-RTX."""

    def make(gpu: LocalGpu | None = GPU) -> PartsLibrary:
        cuda = NumpyCuda()
        library = PartsLibrary(cuda)
        monkeypatch.setattr(tensorrt_parts_open, "load_library", lambda target: library.as_module())
        monkeypatch.setattr(tensorrt_parts_open, "open_cuda", lambda: cuda)
        monkeypatch.setattr(tensorrt_open, "local_gpu", lambda: gpu)
        monkeypatch.setattr(tensorrt_open, "cuda_of_wheel", lambda target: "13")
        monkeypatch.setattr("nafnet_deploy.engines.registry.local_gpu", lambda: gpu)
        return library

    return make


def write(bundle: Bundle, folder: Path, name: str = "x", **changes: object) -> PartsFile:
    """Plans whose bytes are the graphs, with a true sidecar."""
    plans = {
        part: Plan(data, plan_manifest(part_bundle(bundle, part), data, **changes))
        for part, data in plans_of_graphs(bundle).items()
    }
    return write_parts(plans, bundle.manifest, "key", folder / f"{name}.json")


@pytest.mark.parametrize("engine", [RTX, "auto", "x.step.engine", "x.head.engine"])
def test_plans_that_fit_are_found_by_name_by_auto_and_by_path(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path, engine: str
) -> None:
    machine()
    write(bundle, tmp_path / "engines")
    name = str(tmp_path / "engines" / engine) if engine.endswith(".engine") else engine
    batch = natural_batch((1, 3, 32, 32), 0)
    with open_engine(name, bundle, 3) as ours, open_anytime("onnxruntime", bundle, StopRule(3)) as theirs:
        assert ours.name == "tensorrt-rtx 1.7 sm86 fp32"
        np.testing.assert_array_equal(restore_batch(ours, batch), restore_batch(theirs, batch))


def test_without_a_gpu_it_is_refused_and_auto_takes_the_cpu(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path
) -> None:
    machine(None)
    found = write(bundle, tmp_path / "engines")
    for name in (RTX, str(found.plan(STEP))):
        with pytest.raises(MachineError, match="no NVIDIA GPU"):
            open_anytime(name, bundle, StopRule(2))
    with open_anytime("auto", bundle, StopRule(2)) as engine:
        assert engine.name == "onnxruntime cpu"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpus": ("sm89",)}, "was built for sm89"),
        ({"version": "1.6.0.1"}, "version 1.6.0.1"),
    ],
)
def test_plans_that_do_not_fit_are_refused_by_path_and_passed_over_by_auto(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    library = machine()
    found = write(bundle, tmp_path / "engines", **changes)
    with pytest.raises(EngineError, match=words) as caught:
        tensorrt_parts_open.TENSORRT_RTX.open(bundle, plan=found.plan(HEAD))
    assert "nafdeploy build" in caught.value.mend
    assert "--iters" not in caught.value.mend
    said: list[str] = []
    with open_anytime("auto", bundle, StopRule(2), note=said.append) as engine:
        assert engine.name == "onnxruntime cpu"
    assert not library.runs
    assert any("is passed over" in line for line in said)


def test_plans_of_the_other_library_are_refused(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path
) -> None:
    machine()
    found = write(bundle, tmp_path / "engines", target="tensorrt")
    with pytest.raises(EngineError, match="a plan of TensorRT, not of TensorRT-RTX"):
        tensorrt_parts_open.TENSORRT_RTX.open(bundle, plan=found.plan(HEAD))


def test_plans_of_another_bundle_are_refused(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path
) -> None:
    machine()
    sha256 = {**bundle.manifest.sha256, ".step.onnx": "other"}
    other = Bundle(bundle.graph, dataclasses.replace(bundle.manifest, sha256=sha256))
    found = write(other, tmp_path / "engines")
    with pytest.raises(EngineError, match="built from another graph"):
        open_anytime(str(found.plan(STEP)), bundle, StopRule(2))


def test_changed_or_lost_plans_never_reach_the_library(
    bundle: Bundle, machine: Callable[..., PartsLibrary], tmp_path: Path
) -> None:
    machine()
    found = write(bundle, tmp_path / "engines")
    found.plan(STEP).write_bytes(b"other")
    for name in (RTX, str(found.plan(HEAD))):
        with pytest.raises(EngineError, match="hash differs"):
            open_anytime(name, bundle, StopRule(2))
    found.path.unlink()
    with pytest.raises(CheckpointError, match="not a readable manifest"):
        open_anytime(str(found.plan(HEAD)), bundle, StopRule(2))
