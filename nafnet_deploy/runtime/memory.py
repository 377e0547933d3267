"""How much memory a run may take."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nafnet_deploy.errors import ConfigError

ENGINE_SHARE = 2.2
"""What an engine takes over the manifest's `activation_bytes_per_pixel`: OpenVINO 2.03 to 2.09, ONNX Runtime 1.01 to
1.49 (`denoise-light` and medium, 512x512 and 1024x1024)."""
FIXED = 64 * 10**6
"""Bytes for decoder, encoder and what the engine sets up in its first run (an estimate)."""
_FALLBACK = 2**30
_SHARE = 4
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_UNKNOWN_RESIDENT = 300 * 10**6


def available_memory() -> int | None:
    """Bytes that can be used without swapping, container limits included; None where the system does not say."""
    found = [n for n in (_meminfo(), _container()) if n is not None]
    if found:
        return min(found)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, macOS no such name
        return None


def memory_budget() -> int:
    """Bytes for a network's activations: a quarter of what is available, 1 GiB where that is unknown."""
    available = available_memory()
    return _FALLBACK if available is None else available // _SHARE


def parse_memory(text: str) -> int:
    """Bytes of an amount such as `1500MB`, `1.5GB` or `800MiB`.

    Raises:
        ConfigError: no amount above 0, or a unit that is unknown or missing.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B|B)\s*", text, re.IGNORECASE)
    amount = float(match[1]) * _UNITS[match[2].upper()] if match else 0
    if amount < 1:
        raise ConfigError(f"the memory {text!r} is not an amount.", "Write e.g. --memory 1500MB or 2GiB.")
    return int(amount)


def resident_memory() -> int:
    """Bytes that this process has in memory now; 300 MB, a usual figure, where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError, IndexError):
        return _UNKNOWN_RESIDENT


def shared_limit(limit: int | None, processes: int) -> int | None:
    """What each of so many processes may take, that a machine has beside this one, of a limit for all (bytes)."""
    return None if limit is None else max(limit - resident_memory(), 1) // max(processes, 1)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return max(int(limit) - int(used), 0)
    except (OSError, ValueError):  # no cgroup v2, or the limit is the word "max"
        return None
