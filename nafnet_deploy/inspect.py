"""Says what any checkpoint or bundle is. Only an official `.pth` needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nafnet_deploy.checkpoint_header import is_ours, read_facts, read_header
from nafnet_deploy.errors import CheckpointError, MissingDependency
from nafnet_deploy.manifest import Bundle, bundle_file, bundle_graph, read_manifest, sha256_of
from nafnet_deploy.tables import plain

FIRST_KEYS = 10
"""How many tensor names of a foreign file are shown."""


def describe(path: Path) -> dict[str, Any]:
    """The facts of a file as plain JSON types; `kind` says which others are there.

    - `checkpoint`: name, task, config, iterations, parameters, provenance
    - `official checkpoint`: the same, found from the tensors
    - `bundle`: manifest, graph_matches_manifest, golden (whether the golden file is there)
    - `foreign onnx`: inputs, outputs, opset, producer, nodes
    - `foreign safetensors`: tensors, parameters, first_keys, metadata

    Raises:
        CheckpointError: missing, damaged or of an unknown kind.
        MissingDependency: torch for a `.pth`, onnx for a graph without a manifest.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file.", "Check the path.")
    readers = {
        ".safetensors": _safetensors,
        ".onnx": _onnx,
        ".json": _bundle,
        ".pth": _official,
        ".pt": _official,
        ".ckpt": _official,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise CheckpointError(f"{path} is of no kind that is known here.", f"Known: {', '.join(readers)}.")
    return {"file": str(path), "bytes": path.stat().st_size, **reader(path)}


def _safetensors(path: Path) -> dict[str, Any]:
    header = read_header(path)
    if is_ours(header):
        facts = read_facts(header, path)
        return {
            "kind": "checkpoint",
            "name": facts.name,
            "task": facts.task,
            "config": facts.config.to_dict(),
            "iterations": facts.config.iterations,
            "parameters": header.parameters,
            "provenance": facts.provenance,
        }
    return {
        "kind": "foreign safetensors",
        "tensors": len(header.shapes),
        "parameters": header.parameters,
        "first_keys": list(header.shapes)[:FIRST_KEYS],
        "metadata": header.metadata,
    }


def _official(path: Path) -> dict[str, Any]:
    try:
        from nafnet_deploy.checkpoints.official import load_official
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", "export", "to read a .pth checkpoint") from error
    checkpoint = load_official(path)
    return {
        "kind": "official checkpoint",
        "name": checkpoint.name,
        "task": checkpoint.task,
        "config": checkpoint.config.to_dict(),
        "iterations": checkpoint.config.iterations,
        "parameters": sum(tensor.numel() for tensor in checkpoint.weights.values()),
        "provenance": checkpoint.provenance,
    }


def _onnx(path: Path) -> dict[str, Any]:
    if not bundle_file(bundle_graph(path), ".json").is_file():
        return _foreign_onnx(path)
    return _bundle(path)


def _bundle(path: Path) -> dict[str, Any]:
    bundle = Bundle(bundle_graph(path), read_manifest(path))
    hashes = bundle.manifest.sha256
    return {
        "kind": "bundle",
        "manifest": plain(bundle.manifest),
        "graph_matches_manifest": all(
            graph.is_file() and sha256_of(graph) == hashes.get(suffix) for suffix, graph in bundle.graphs.items()
        ),
        "golden": bundle.golden.is_file(),
    }


def _foreign_onnx(path: Path) -> dict[str, Any]:
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnx", "cpu", "to read a graph without a manifest") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable ONNX file.", "Copy or export it again.") from error
    # An empty or random file can parse into a graph of nothing.
    if not model.graph.node:
        raise CheckpointError(f"{path} is not a readable ONNX file: it holds no graph.", "Copy or export it again.")
    weights = {initializer.name for initializer in model.graph.initializer}
    return {
        "kind": "foreign onnx",
        "inputs": {i.name: _shape(i) for i in model.graph.input if i.name not in weights},
        "outputs": {o.name: _shape(o) for o in model.graph.output},
        "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "nodes": len(model.graph.node),
    }


def _shape(value: Any) -> list[int | str]:
    """Shape of a graph's input or output; a word is a free dimension."""
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
