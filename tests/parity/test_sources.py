"""The fp32 bundle that a half graph is compared with: found, named, or refused where it does not serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.manifest import Bundle, bundle_file
from nafnet_deploy.parity.sources import full_bundle
from tests.bundles import manifest_of, write_identity_graph

FAULTS = {
    "precision": ({"precision": "fp16"}, "it is fp16"),
    "network": ({"provenance": {"source": "another"}}, "it holds another network"),
    "window": ({"tlc": 384}, "its local means have a window of 384 pixels, not 0"),
    "iterations": ({"iterations": 1}, "it has 1 of 2 iterations"),
}


def bundle(graph: Path, **changes: Any) -> Bundle:
    """A bundle of two iterations on disk, whose contents only its manifest tells."""
    write_identity_graph(graph)
    changes = {"iterations": 2, "precision": graph.stem.rpartition("-")[2], **changes}
    changes["iteration_values"] = {"middle": ("a", "b")[: changes["iterations"]]}
    changes["default_iterations"] = changes["iterations"]
    manifest = dataclasses.replace(manifest_of(graph), **changes)
    bundle_file(graph, ".json").write_text(manifest.to_json())
    return Bundle(graph, manifest)


def test_it_is_found_beside_the_half_graph_or_named(tmp_path: Path) -> None:
    half = bundle(tmp_path / "a-fp16.onnx")
    found, reason = full_bundle(half, None)
    assert found is None
    assert "name it with --fp32" in reason
    full = bundle(tmp_path / "a-fp32.onnx")
    for given in (None, full):
        found, reason = full_bundle(half, given)
        assert found is not None
        assert (found.graph, reason) == (full.graph, "")


@pytest.mark.parametrize("fault", FAULTS)
def test_one_of_something_else_is_refused_where_it_was_named_and_passed_over_where_not(
    fault: str, tmp_path: Path
) -> None:
    changes, words = FAULTS[fault]
    half, other = bundle(tmp_path / "a-fp16.onnx"), bundle(tmp_path / "a-fp32.onnx", **changes)
    found, reason = full_bundle(half, None)
    assert found is None
    assert words in reason
    with pytest.raises(ConfigError, match="is not the fp32 graph") as refused:
        full_bundle(half, other)
    assert words in refused.value.message
