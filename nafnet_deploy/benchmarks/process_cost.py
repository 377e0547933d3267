"""What a process that runs one engine costs: start-up and peak memory, seen in a child process of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nafnet_deploy.errors import EngineError

TIMEOUT = 600.0
"""Seconds until a child counts as hung."""


@dataclasses.dataclass(frozen=True)
class ProcessCost:
    """One engine in a fresh process."""

    startup_ms: float
    """From the start of the process to its first picture: interpreter, imports, loading, compiling, first run."""
    peak_mib: float | None
    """Largest resident memory of the whole process (MiB); None where the system does not say."""
    device_mib: float | None
    """Growth of the device memory in use while the engine was opened and run (MiB); None when unknown."""
    runs_ms: tuple[float, ...] = ()
    """Forward passes after the first (ms)."""


def measure_process(module: str, request: Mapping[str, Any], timeout: float = TIMEOUT) -> ProcessCost:
    """Runs `python -m module` with `request` and the moment of its start as JSON on stdin.

    The child prints a `ProcessCost` as the last line of its stdout.

    Raises:
        EngineError: the child failed, hung or crashed.
    """
    # -P: a file in the current folder must not stand in for a package.
    code = f"import sys, runpy; sys.path[:] = {sys.path!r}; runpy.run_module({module!r}, run_name='__main__')"
    given = json.dumps({**request, "born_ns": time.time_ns()})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"a process of its own for {module} hung for {timeout:.0f} seconds.") from error
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EngineError(f"the engine failed in a process of its own: {reason[:300].rstrip('. ')}.")
    table = json.loads(lines[-1])
    return ProcessCost(**{**table, "runs_ms": tuple(table["runs_ms"])})


def peak_mib() -> float | None:
    """Largest resident memory of this process so far (MiB)."""
    try:
        # Not ru_maxrss first: on Linux a child inherits the size that its parent had at the fork.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
