"""Tries in another process what may crash this one: loading native libraries that were never seen to work."""

from __future__ import annotations

import re
import subprocess
import sys

TIMEOUT = 120.0
"""Seconds until a try counts as hung."""
_REASON = re.compile(r"with error: (.+)")
"""How ONNX Runtime's log words the missing library that its exceptions do not name."""


def fault_of(code: str, timeout: float = TIMEOUT) -> str:
    """Runs Python code in a fresh interpreter with this one's import path.

    Returns:
        Empty when it ends well, else the reason in one line.
    """
    # -P: a file in the current folder must not stand in for a package.
    command = [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"it hung for {timeout:.0f} seconds"
    if result.returncode == 0:
        return ""
    if result.returncode < 0:
        return f"the process crashed with signal {-result.returncode}"
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    named = _REASON.search(result.stderr)
    reason = named[1] if named else lines[-1] if lines else f"exit code {result.returncode}"
    return " ".join(reason.split())[:300].rstrip(". ")
