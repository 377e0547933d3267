"""The machine and the packages that a report was made with. Shared by the parity and benchmark reports."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("nafnet-deploy", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a figure depends on besides the network. Names no host and no user."""

    cpu: str
    """Processor as the system names it."""
    cores: int
    """Logical cores this process may use."""
    memory_gib: float
    """Physical memory (GiB); 0 when the system does not say."""
    system: str
    """Operating system, release and machine type."""
    python: str
    """Python version."""
    packages: dict[str, str]
    """Versions of the installed packages that matter."""
    threads: int
    """Threads each engine was told to use; 0 is the engine's own choice."""
    load_average: tuple[float, ...]
    """Runnable processes over 1, 5 and 15 minutes when the work began; empty where the system has no such figure."""
    date: str
    """UTC time of the reading, ISO 8601."""


def read_environment(threads: int = 0) -> Environment:
    """Reads this machine's environment; imports none of the packages it names.

    Args:
        threads: what the engines are told; recorded, not applied.
    """
    return Environment(
        cpu=_cpu_name(),
        cores=_cores(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_versions(),
        threads=threads,
        load_average=tuple(round(v, 2) for v in os.getloadavg()) if hasattr(os, "getloadavg") else (),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    # The affinity mask, not the machine: containers and taskset hand out fewer cores than there are.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return 0.0


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
