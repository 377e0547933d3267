"""Settings of the whole test run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# One thread per process, set before anything imports torch: the networks here are tiny, and on a busy machine
# threads that wait for each other cost ten times more than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time limits per example fail at random on a busy machine.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny.onnx` with its manifest, golden file and `tiny.safetensors` beside it; N = 3. Never change these files."""
    from tests.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`split.json` with its three graphs and golden file: the network of `tiny`, in steps. Never change these files."""
    from tests.tiny import write_split

    return write_split(tmp_path_factory.mktemp("split"))
