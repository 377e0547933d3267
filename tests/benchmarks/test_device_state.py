"""NVML: a double of the package, and every way in which it fails."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from nafnet_deploy.benchmarks.device_state import read_device, throttle_reasons


def nvml(**replaced: Any) -> types.ModuleType:
    module: Any = types.ModuleType("pynvml")
    module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM, module.NVML_TEMPERATURE_GPU = 1, 2, 0
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetHandleByIndex = lambda index: f"gpu {index}"
    module.nvmlDeviceGetName = lambda gpu: b"Double 1"
    module.nvmlSystemGetDriverVersion = lambda: "600.1"
    module.nvmlDeviceGetClockInfo = lambda gpu, which: 1000 * which
    module.nvmlDeviceGetTemperature = lambda gpu, which: 61
    module.nvmlDeviceGetPowerUsage = lambda gpu: 250_500
    module.nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(used=3 * 2**20)
    module.nvmlDeviceGetCurrentClocksThrottleReasons = lambda gpu: 0x21
    for name, value in replaced.items():
        setattr(module, name, value)
    return module  # type: ignore[no-any-return]


def fails(*arguments: object) -> None:
    raise RuntimeError("not supported")


def test_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    state = read_device()
    assert state is not None
    assert (state.name, state.sm_mhz, state.memory_mhz, state.celsius) == ("Double 1", 1000, 2000, 61)
    assert (state.watts, state.used_mib) == (250.5, 3.0)
    assert state.throttled == ("software thermal slowdown",)
    assert "software thermal slowdown" in state.words()


def test_what_a_card_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = nvml(nvmlDeviceGetTemperature=fails, nvmlDeviceGetCurrentClocksThrottleReasons=fails)
    monkeypatch.setitem(sys.modules, "pynvml", silent)
    state = read_device()
    assert state is not None
    assert state.celsius is None
    assert "unknown °C, throttling unknown" in state.words()


@pytest.mark.parametrize("module", [None, nvml(nvmlInit=fails), nvml(nvmlDeviceGetHandleByIndex=fails)])
def test_no_package_no_driver_or_no_gpu_is_no_error(
    monkeypatch: pytest.MonkeyPatch, module: types.ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert read_device() is None


def test_idle_is_no_throttling() -> None:
    assert throttle_reasons(0x1) == ()
    assert throttle_reasons(0x48) == ("hardware slowdown", "hardware thermal slowdown")
