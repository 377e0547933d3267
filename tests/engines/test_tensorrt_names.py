"""Every name of the library that the runner uses exists in every library it serves. Names, not behaviour."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx

from nafnet_deploy.engines import tensorrt_context, tensorrt_profiles
from nafnet_deploy.engines.tensorrt_runner import TensorRTEngine
from nafnet_deploy.errors import EngineError
from tests import tensorrt_double
from tests.cuda_double import NumpyCuda

SURFACES = Path(__file__).parent / "tensorrt" / "surface"


def called_names(module: Any) -> dict[str, set[str]]:
    """`self._engine.x` and `engine.x` -> {"engine": {"x"}} for the library's four objects."""
    found: dict[str, set[str]] = {"library": set(), "runtime": set(), "engine": set(), "context": set()}
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Attribute):
            owner = node.value
            word = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if word.lstrip("_") in found:
                found[word.lstrip("_")].add(node.attr)
    return found


CLASSES = {"library": "", "runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext"}
USED = {
    (CLASSES[owner], name)
    for module in (tensorrt_context, tensorrt_profiles)
    for owner, used in called_names(module).items()
    for name in used
}


def missing(surface: dict[str, list[str]]) -> set[tuple[str, str]]:
    return {(owner, name) for owner, name in USED if name not in (surface.get(owner, ()) if owner else surface)}


def test_every_name_that_the_runner_calls_exists_in_tensorrt_rtx() -> None:
    assert len(USED) >= 15
    assert missing({name: dir(getattr(tensorrt_rtx, name)) for name in dir(tensorrt_rtx)}) == set()
    assert hasattr(tensorrt_rtx.IExecutionContext, "is_stream_capturable")
    assert hasattr(tensorrt_rtx.DynamicShapesKernelSpecializationStrategy, "EAGER")
    assert hasattr(tensorrt_rtx.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")


@pytest.mark.parametrize("recorded", sorted(SURFACES.glob("*.json")), ids=lambda path: path.stem)
def test_every_name_that_the_runner_calls_exists_in_data_centre_tensorrt(recorded: Path) -> None:
    surface = json.loads(recorded.read_text())
    assert missing(surface) == set()
    assert "DynamicShapesKernelSpecializationStrategy" not in surface


def test_the_double_has_no_name_that_the_real_library_lacks() -> None:
    for ours, theirs in (
        (tensorrt_double.Engine, tensorrt_rtx.ICudaEngine),
        (tensorrt_double.Context, tensorrt_rtx.IExecutionContext),
    ):
        assert {n for n in vars(ours) if not n.startswith("_")} <= set(dir(theirs))


@pytest.mark.parametrize("size", [0, 4096])
def test_the_real_library_refuses_random_bytes_with_its_reason_and_the_process_lives(size: int) -> None:
    cuda = NumpyCuda()
    with pytest.raises(EngineError, match=r"cannot load the plan: .+"):
        TensorRTEngine(tensorrt_rtx, cuda, np.random.default_rng(0).bytes(size), "tensorrt-rtx")
    assert cuda.closed
