"""The manifest, its sidecar file and the hash that ties it to a graph."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, UsageError
from nafnet_deploy.manifest import SCHEMA, ModelManifest, bundle_file, open_bundle, read_manifest, sha256_of
from nafnet_deploy.tables import read_table
from tests.bundles import write_bundle


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "model-v1.2.onnx"
    write_bundle(path)
    return path


def test_round_trip(graph: Path) -> None:
    bundle = open_bundle(graph)
    assert bundle.graph == graph
    assert read_table(ModelManifest, json.loads(bundle.manifest.to_json()), "m") == bundle.manifest
    assert bundle.golden == graph.with_name("model-v1.2.golden.npz")


def test_parts_of_other_names_are_refused(graph: Path) -> None:
    sidecar = bundle_file(graph, ".json")
    part = {"inputs": [], "outputs": []}
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "parts": {"../head": part}}))
    with pytest.raises(ConfigError, match="not head, step and tail"):
        read_manifest(graph)


def test_sidecar_from_before_half_graphs_still_reads(graph: Path) -> None:
    sidecar = bundle_file(graph, ".json")
    table = json.loads(sidecar.read_text())
    for key in ("float32_islands", "half_share", "ranges", "calibration"):
        del table[key]
    sidecar.write_text(json.dumps(table))
    assert open_bundle(graph).manifest.float32_islands == {}


def test_sha256_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_missing_graph_or_manifest(graph: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_bundle(graph.with_name("none.onnx"))
    bundle_file(graph, ".json").unlink()
    with pytest.raises(CheckpointError, match="no manifest"):
        open_bundle(graph)


def test_changed_graph_is_refused_but_its_manifest_can_be_read(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(EngineError, match="hash differs"):
        open_bundle(graph)
    assert read_manifest(graph).name == "model-v1.2"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\udcff"])
def test_sidecar_that_is_no_manifest(graph: Path, text: str) -> None:
    bundle_file(graph, ".json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match="manifest"):
        open_bundle(graph)


def test_unknown_key_and_newer_format(graph: Path) -> None:
    sidecar = bundle_file(graph, ".json")
    table = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**table, "paddng": "zeros"}))
    with pytest.raises(ConfigError, match="unknown key 'paddng'"):
        open_bundle(graph)
    sidecar.write_text(json.dumps({**table, "schema": SCHEMA + 1}))
    with pytest.raises(ConfigError, match="format"):
        open_bundle(graph)


@settings(max_examples=100)
@given(
    st.sampled_from([f.name for f in dataclasses.fields(ModelManifest)]),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=4),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3),
        max_leaves=5,
    ),
)
def test_one_wild_value_gives_a_manifest_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    graph = tmp_path_factory.getbasetemp() / "wild.onnx"
    if not graph.exists():
        write_bundle(graph)
    table = json.loads(bundle_file(graph, ".json").read_text())
    with contextlib.suppress(UsageError):
        assert isinstance(read_table(ModelManifest, {**table, key: value}, "m"), ModelManifest)
