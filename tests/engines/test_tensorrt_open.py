"""Which plan is loaded and which is refused, before the library sees a byte of it. The library is a double."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nafnet_deploy.engines import tensorrt_open
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.engines.plan import sidecar_of
from nafnet_deploy.engines.plan_choice import iterations_of
from nafnet_deploy.engines.registry import open_engine, open_fastest
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, MachineError, MissingDependency
from nafnet_deploy.manifest import Bundle, open_bundle
from tests import plans
from tests.bundles import write_bundle
from tests.cuda_double import NumpyCuda
from tests.tensorrt_double import PLAN, Library, double

GPU = LocalGpu("NVIDIA GeForce RTX 3090", "sm86", 24.0, "13.0")
RTX = "tensorrt-rtx"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write_bundle(tmp_path / "x.onnx")
    return open_bundle(tmp_path / "x.onnx")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan of this machine's user is found."""
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Library]:
    """`machine(gpu)`: a machine with that GPU and the double of TensorRT-RTX."""

    def make(gpu: LocalGpu | None = GPU, version: str = "1.7.1.116") -> Library:
        cuda = NumpyCuda()
        library = Library(cuda)
        monkeypatch.setattr(tensorrt_open, "load_library", lambda target: library.as_module(version))
        monkeypatch.setattr(tensorrt_open, "local_gpu", lambda: gpu)
        monkeypatch.setattr("nafnet_deploy.engines.registry.local_gpu", lambda: gpu)
        monkeypatch.setattr(tensorrt_open, "open_cuda", lambda: cuda)
        monkeypatch.setattr(tensorrt_open, "cuda_of_wheel", lambda target: "13")
        return library

    return make


@pytest.mark.parametrize("place", ["x.sm86.engine", "engines/y.engine", "cache/0123/z.engine"])
def test_a_plan_is_found_beside_the_bundle_in_engines_and_in_the_cache(
    bundle: Bundle, machine: Callable[..., Library], place: str
) -> None:
    machine()
    plans.write(bundle.graph.parent / place, bundle)
    batch = np.random.default_rng(0).random((1, 3, 4, 4), np.float32)
    with open_engine(RTX, bundle) as engine:
        assert engine.name == "tensorrt-rtx 1.7 sm86 fp32"
        assert engine.inputs == bundle.manifest.inputs
        assert np.array_equal(restore_batch(engine, batch), double(batch))


def test_the_newest_of_the_plans_that_fit_is_taken(bundle: Bundle, machine: Callable[..., Library]) -> None:
    library, folder = machine(), bundle.graph.parent
    for name, data, changes in (
        ("a", b"old", {"date": "2026-01-01"}),
        ("b", b"new", {"date": "2026-03-01"}),
        ("c", b"older", {"date": "2025-01-01"}),
        ("d", b"other gpu", {"date": "2026-09-01", "gpus": ("sm89",)}),
    ):
        plans.write(folder / f"{name}.engine", bundle, data, **changes)
    open_engine(RTX, bundle).close()
    assert library.calls[0] == ("deserialize_cuda_engine", b"new")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "1.6.0.1"}, "built with version 1.6.0.1 of the library, and 1.7.1.116 is installed"),
        ({"gpus": ("sm89", "sm120")}, "built for sm89, sm120, and this NVIDIA GeForce RTX 3090 is sm86"),
        ({"graph_sha256": "0" * 64}, "from another graph than x.onnx"),
        ({"iterations": 2}, "computes 2 iterations and 1 were asked for"),
    ],
    ids=["version", "gpu", "graph", "iterations"],
)
def test_a_plan_that_does_not_fit_is_refused_untouched_with_the_command_that_builds_one(
    bundle: Bundle, machine: Callable[..., Library], changes: dict[str, Any], words: str
) -> None:
    library = machine()
    plan = plans.write(bundle.graph.parent / "p.engine", bundle, **changes)
    with pytest.raises(EngineError) as caught:
        open_engine(str(plan), bundle)
    assert words in caught.value.message
    assert f"nafdeploy build {bundle.graph} --target tensorrt-rtx --gpu sm86" in caught.value.mend
    assert not library.calls
    assert not library.cuda.calls


def test_a_portable_plan_needs_compute_capability_8(bundle: Bundle, machine: Callable[..., Library]) -> None:
    plan = plans.write(bundle.graph.parent / "p.engine", bundle, gpus=())
    machine(LocalGpu("Tesla T4", "sm75", 16.0, "13.0"))
    with pytest.raises(EngineError, match="sm80 and later"):
        open_engine(str(plan), bundle)
    machine(LocalGpu("H100", "sm90", 80.0, "13.0"))
    with open_engine(str(plan), bundle) as engine:
        assert engine.name == "tensorrt-rtx 1.7 sm90 fp32"


@pytest.mark.parametrize("damage", ["truncated", "empty", "random"])
def test_a_damaged_plan_is_refused_on_any_machine_and_trusted_when_asked(
    bundle: Bundle, machine: Callable[..., Library], damage: str
) -> None:
    plan = plans.write(bundle.graph.parent / "p.engine", bundle)
    data = {"truncated": PLAN[:5], "empty": b"", "random": os.urandom(64)}[damage]
    plan.write_bytes(data)
    with pytest.raises(EngineError, match="the hash differs"):
        open_engine(str(plan), bundle)
    library = machine()
    with open_engine(str(plan), bundle, trust=True) as engine:
        assert engine.name == "tensorrt-rtx 1.7 sm86 untrusted"
    assert library.calls[0] == ("deserialize_cuda_engine", data)


def test_a_trusted_plan_without_a_sidecar_is_known_by_its_name(bundle: Bundle, machine: Callable[..., Library]) -> None:
    machine()
    named = bundle.graph.with_name("x.sm86.tensorrt-rtx.engine")
    named.write_bytes(PLAN)
    open_engine(str(named), bundle, trust=True).close()
    with pytest.raises(CheckpointError, match="no manifest"):
        open_engine(str(named), bundle)
    with pytest.raises(CheckpointError, match="no manifest"):
        open_engine(str(named.rename(named.with_name("foreign.engine"))), bundle, trust=True)


def test_trust_needs_a_path(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="path"):
        open_engine(RTX, bundle, trust=True)


def test_a_plan_with_other_inputs_is_closed_again(bundle: Bundle, machine: Callable[..., Library]) -> None:
    library = machine()
    library.dtype = np.float16
    plans.write(bundle.graph.parent / "p.engine", bundle)
    with pytest.raises(EngineError, match="does not have the inputs and outputs"):
        open_engine(RTX, bundle)
    assert library.cuda.closed
    assert not library.cuda.held


def test_no_gpu_an_old_driver_and_a_missing_library_are_the_machines_fault(
    bundle: Bundle, machine: Callable[..., Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans.write(bundle.graph.parent / "p.engine", bundle)
    machine(None)
    with pytest.raises(MachineError, match="no NVIDIA GPU"):
        open_engine(RTX, bundle)
    machine(LocalGpu("RTX 3090", "sm86", 24.0, "12.4"))
    with pytest.raises(MachineError, match=r"serves CUDA 12.4 and tensorrt_rtx for CUDA 13"):
        open_engine(RTX, bundle)
    monkeypatch.undo()
    monkeypatch.chdir(bundle.graph.parent)
    with pytest.raises(MissingDependency) as caught:
        open_engine("tensorrt", bundle)
    assert caught.value.exit_code == 3
    assert "nafnet-deploy[tensorrt]" in caught.value.mend


def test_a_missing_plan_is_built_once_for_this_gpu_and_found_the_second_time(
    bundle: Bundle, machine: Callable[..., Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def build(bundle: Bundle, recipe: Any, module: Any) -> Any:
        asked.append(recipe)
        path = plans.write(bundle.graph.parent / "cache" / "key" / "p.engine", bundle)
        return type("Built", (), {"file": tensorrt_open.open_plan(path)})

    monkeypatch.setattr(tensorrt_open, "cached_plan", build)
    for _ in range(2):
        machine()
        open_engine(RTX, bundle).close()
    assert [(r.target, r.gpus, r.iterations) for r in asked] == [(RTX, ("sm86",), 1)]


def test_auto_takes_a_plan_that_fits_and_tells_why_it_passed_one_over(
    bundle: Bundle, machine: Callable[..., Library]
) -> None:
    machine()
    notes: list[str] = []
    plan = plans.write(bundle.graph.parent / "p.engine", bundle)
    with open_fastest(bundle, None, 1, notes.append) as engine:
        assert engine.name.startswith("tensorrt-rtx")
    assert notes == []
    plan.write_bytes(b"changed")
    with open_fastest(bundle, None, 1, notes.append) as engine:
        assert engine.name == "openvino cpu fp32"
    assert len(notes) == 1
    assert "hash differs" in notes[0]


def test_auto_never_builds(bundle: Bundle, machine: Callable[..., Library], monkeypatch: pytest.MonkeyPatch) -> None:
    machine()
    plans.write(bundle.graph.parent / "p.engine", bundle, gpus=("sm120",))
    monkeypatch.setattr(tensorrt_open, "cached_plan", lambda *_: pytest.fail("it built a plan"))
    notes: list[str] = []
    with open_engine("auto", bundle, note=notes.append) as engine:
        assert engine.name == "openvino cpu fp32"
    assert "sm120" in notes[0]


def test_a_plan_says_its_own_iterations(bundle: Bundle) -> None:
    plan = plans.write(bundle.graph.parent / "p.engine", bundle, iterations=4)
    assert iterations_of(str(plan)) == 4
    assert iterations_of(RTX) is None
    sidecar_of(plan).unlink()
    assert iterations_of(str(plan)) is None
