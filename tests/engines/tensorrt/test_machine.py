"""The library and the GPU of a machine: found, missing, broken, too old, the wrong one."""

import ctypes
import importlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nafnet_deploy.engines import driver
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.driver import LocalGpu, local_gpu
from nafnet_deploy.engines.flavour import FLAVOURS, cuda_of_wheel, load_library
from nafnet_deploy.engines.tensorrt_builder import check_machine
from nafnet_deploy.errors import ConfigError, EngineError, MachineError, MissingDependency

H100 = LocalGpu("NVIDIA H100", "sm90", 80.0, "13.0")


def test_the_installed_library_loads_and_tells_its_cuda() -> None:
    module = load_library("tensorrt-rtx")
    assert module.__name__ == FLAVOURS["tensorrt-rtx"].package
    assert cuda_of_wheel("tensorrt-rtx") in ("12", "13")
    assert cuda_of_wheel("tensorrt") == ""


@pytest.mark.parametrize("target", FLAVOURS)
def test_a_missing_library_names_the_extra(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, FLAVOURS[target].package, None)
    with pytest.raises(MissingDependency, match=rf"pip install 'nafnet-deploy\[{target}\]'") as caught:
        load_library(target)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("error", [OSError("libnvinfer.so.10: cannot open"), ImportError("libcuda"), RuntimeError("x")])
def test_a_library_that_cannot_be_loaded_gives_its_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MachineError, match=f"cannot be loaded: {error}"):
        load_library("tensorrt")


@pytest.mark.parametrize(("version", "accepted"), [("10.11.0.33", False), ("8.6.1", False), ("10.12.0.36", True)])
def test_a_library_that_is_too_old_is_refused(version: str, accepted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))  # type: ignore[arg-type]
    if accepted:
        assert load_library("tensorrt").__version__ == version
    else:
        with pytest.raises(MachineError, match=f"{version} is too old: 10.12"):
            load_library("tensorrt")


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tensorrt-rtx'"):
        load_library("tensorrt-rt")


def test_data_centre_tensorrt_needs_the_gpu_it_builds_for() -> None:
    with pytest.raises(MachineError, match=r"this machine has none.*tensorrt-rtx, which needs no GPU"):
        check_machine(BuildRecipe(target="tensorrt"), None)
    with pytest.raises(EngineError, match=r"NVIDIA H100 \(sm90\), not for sm80"):
        check_machine(BuildRecipe(target="tensorrt", gpus=("sm80",)), H100)
    check_machine(BuildRecipe(target="tensorrt", gpus=("sm90",)), H100)
    check_machine(BuildRecipe(target="tensorrt"), H100)
    check_machine(BuildRecipe(gpus=("sm86",)), None)


def fake_driver(init: int = 0) -> Any:
    """Answers as libcuda does, through the pointers it is given."""

    def put(value: int) -> Any:
        def call(pointer: Any, *_: Any) -> int:
            pointer._obj.value = value
            return 0

        return call

    def attribute(pointer: Any, which: int, device: Any) -> int:
        pointer._obj.value = {75: 8, 76: 9}[which]
        return 0

    def name(buffer: Any, size: int, device: Any) -> int:
        buffer.value = b"NVIDIA GeForce RTX 4090"
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: init, cuDeviceGet=put(0), cuDeviceGetAttribute=attribute, cuDeviceGetName=name,
        cuDeviceTotalMem_v2=put(24 * 2**30), cuDriverGetVersion=put(13010),
    )  # fmt: skip


def test_the_driver_is_asked_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake_driver())
    assert local_gpu() == LocalGpu("NVIDIA GeForce RTX 4090", "sm89", 24.0, "13.1")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake_driver(init=100))  # CUDA_ERROR_NO_DEVICE
    assert local_gpu() is None


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(driver.ctypes, "CDLL", absent)
    assert local_gpu() is None
