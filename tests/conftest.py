"""Settings of the whole test run."""

from __future__ import annotations

import fcntl
import functools
import gc
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from nafnet_deploy.config import ModelConfig
    from nafnet_deploy.manifest import Bundle
    from tests.exports import Exported

Once = Callable[[str, Callable[[Path], object]], Path]
# One thread per process, set before anything imports torch: the networks here are tiny, and on a busy machine
# threads that wait for each other cost ten times more than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time limits per example fail at random on a busy machine.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


def pytest_collection_finish() -> None:
    """Takes what the imports made out of the garbage collector's sight: it would look through it time and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_benchmarks() -> Iterator[None]:
    """Benchmarks that do not rest before a reading of the machine's noise, and look for its rate with small matrices.

    Nothing here depends on what they read.
    """
    from nafnet_deploy.benchmarks import floor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nafnet_deploy.benchmarks.noise.REST", 0)
        patch.setattr(floor, "fastest_product", functools.partial(floor.fastest_product, side=128))
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: the folder `name`, which `make` filled for all worker processes of this run."""
    folder = tmp_path_factory.getbasetemp()
    root = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part = root / f"{name}.part"
                part.mkdir()
                make(part)
                part.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def tiny(once: Once) -> Path:
    """`tiny.onnx` with its manifest, golden file and `tiny.safetensors` beside it; N = 3. Never change these files."""
    from tests.tiny import write_tiny

    return once("tiny", write_tiny) / "tiny.onnx"


@pytest.fixture(scope="session")
def tiny_split(once: Once) -> Path:
    """`split.json` with its three graphs and golden file: the network of `tiny`, in steps. Never change these files."""
    from tests.tiny import write_split

    return once("split", write_split) / "split.json"


@pytest.fixture(scope="session")
def tiny_half(once: Once) -> Path:
    """`tiny-fp16.onnx`, the network of `tiny` in half, alone in its folder. Never change these files."""
    from tests.tiny import write_half

    return once("half", write_half) / "tiny-fp16.onnx"


@pytest.fixture(scope="session")
def exported(once: Once) -> Exported:
    """`exported(config, precision="fp16")`: the graph of a network with seeded weights. Never change its files."""

    def made(config: ModelConfig, **recipe: Any) -> Bundle:
        from nafnet_deploy.manifest import open_bundle
        from tests.exports import write_seeded

        key = hashlib.sha256(repr((config, sorted(recipe.items()))).encode()).hexdigest()[:16]
        folder = once(f"exported-{key}", lambda folder: write_seeded(folder, config, recipe))
        return open_bundle(folder / "small.onnx")

    return made
