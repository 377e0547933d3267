"""How much memory a run may take."""

from __future__ import annotations

import os
from pathlib import Path

_FALLBACK = 2**30
_SHARE = 4


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
