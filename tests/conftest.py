"""Settings of the whole test run."""

from __future__ import annotations

import os

from hypothesis import settings

# One thread per process, set before anything imports torch: the networks here are tiny, and on a busy machine
# threads that wait for each other cost ten times more than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time limits per example fail at random on a busy machine.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
