"""Every TensorRT name our code uses exists in every library it serves.

TensorRT-RTX is asked itself. Data-centre TensorRT cannot be installed where there is no vendor index, so its names
come from its own Python bindings, recorded by `record_surface.py`: this proves names, not behaviour.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorrt_rtx

from nafnet_deploy.engines import tensorrt_builder

Surface = dict[str, list[str]]
SOURCES = sorted(Path(tensorrt_builder.__file__).parent.glob("tensorrt_*.py"))
RECORDED = sorted((Path(__file__).parent / "surface").glob("*.json"))
CLASS_OF = {  # our variables, by the library's class they always hold
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "fault": "ParserError",
    "profile": "IOptimizationProfile",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "serialized": "IHostMemory",
    "cache": "ITimingCache",
}
RTX_ONLY = {
    ("", "ComputeCapability"),
    ("", "EngineInvalidityDiagnostics"),
    ("ComputeCapability", "__members__"),
    ("EngineInvalidityDiagnostics", "MALFORMED_ENGINE"),
    ("EngineInvalidityDiagnostics", "VERSION_MISMATCH"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("IBuilderConfig", "get_compute_capability"),
    ("Runtime", "get_engine_validity"),
}
"""Used behind a `hasattr`, because data-centre TensorRT lacks them."""


def uses(source: str) -> Iterator[tuple[str, str]]:
    """(class, attribute) for each attribute of the library that a source file reads; class "" is the module."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        value = node.value
        if isinstance(value, ast.Name) and value.id == "module":
            yield "", node.attr
        elif isinstance(value, ast.Name) and value.id in CLASS_OF:
            yield CLASS_OF[value.id], node.attr
        elif isinstance(value, ast.Name) and value.id == "reasons":
            yield "EngineInvalidityDiagnostics", node.attr
        elif isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "module":
            yield value.attr, node.attr


USED = sorted({use for path in SOURCES for use in uses(path.read_text())} - {("", "__name__"), ("", "__version__")})


def missing(surface: Surface) -> set[tuple[str, str]]:
    return {
        (owner, name)
        for owner, name in USED
        if (name not in surface if not owner else name not in surface.get(owner, ()) and not name.startswith("__"))
        or (name.startswith("__") and owner not in surface)
    }


def test_the_scan_sees_what_the_code_uses() -> None:
    assert ("Builder", "build_serialized_network") in USED
    assert ("IBuilderConfig", "add_optimization_profile") in USED
    assert ("BuilderFlag", "TF32") in USED
    assert ("ParserError", "node_operator") in USED
    assert set(USED) >= RTX_ONLY


def test_every_name_exists_in_the_installed_tensorrt_rtx() -> None:
    surface = {name: dir(getattr(tensorrt_rtx, name)) for name in dir(tensorrt_rtx)}
    assert missing(surface) == set()


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_every_name_exists_in_data_centre_tensorrt_but_for_the_guarded_ones(recorded: Path) -> None:
    assert missing(json.loads(recorded.read_text())) == RTX_ONLY


def test_the_oldest_supported_version_and_both_major_versions_are_recorded() -> None:
    versions = [path.stem.removeprefix("tensorrt-") for path in RECORDED]
    assert any(v.startswith("10.12.") for v in versions)
    assert any(v.startswith("11.") for v in versions)
