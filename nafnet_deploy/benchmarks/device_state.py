"""The GPU's own state through NVML: clocks, temperature, throttling, memory. What fails is unknown, never an error."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# nvmlClocksEventReasons* of nvml.h; idle and the clocks that an application set are no throttling.
_REASONS = {
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


@dataclasses.dataclass(frozen=True)
class DeviceState:
    """One reading of the first GPU; None stands for unknown."""

    name: str | None
    """The driver's name for it."""
    driver: str | None
    """Driver version."""
    sm_mhz: int | None
    """Clock of the multiprocessors (MHz)."""
    memory_mhz: int | None
    """Clock of the memory (MHz)."""
    celsius: int | None
    """Temperature."""
    watts: float | None
    """Power drawn."""
    used_mib: float | None
    """Device memory in use, by anybody (MiB)."""
    throttled: tuple[str, ...] | None
    """Why the clocks are held down; empty when they are not."""

    def words(self) -> str:
        """The reading in one line."""
        reasons = "unknown" if self.throttled is None else ", ".join(self.throttled) or "none"
        return (
            f"{self.name or 'GPU'}: {_known(self.sm_mhz)} MHz, memory {_known(self.memory_mhz)} MHz, "
            f"{_known(self.celsius)} °C, throttling {reasons}"
        )


def read_device() -> DeviceState | None:
    """The first GPU's state; None without `nvidia-ml-py`, without a driver or without a GPU."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # a foreign package named pynvml may raise anything
        return None
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(0)
        milliwatts = _ask(lambda: float(nvml.nvmlDeviceGetPowerUsage(gpu)))
        return DeviceState(
            name=_ask(lambda: _text(nvml.nvmlDeviceGetName(gpu))),
            driver=_ask(lambda: _text(nvml.nvmlSystemGetDriverVersion())),
            sm_mhz=_ask(lambda: int(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))),
            memory_mhz=_ask(lambda: int(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM))),
            celsius=_ask(lambda: int(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))),
            watts=None if milliwatts is None else milliwatts / 1000,
            used_mib=_ask(lambda: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used) / 2**20),
            throttled=_ask(lambda: throttle_reasons(int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)))),
        )
    except Exception:  # NVML's errors share a base only while the package is whole
        return None
    finally:
        with contextlib.suppress(Exception):
            nvml.nvmlShutdown()


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """NVML's bit mask in words."""
    return tuple(words for bit, words in _REASONS.items() if bits & bit)


def _ask(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except Exception:  # what this card or driver does not tell
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)
