"""Plans on disk whose bytes are made up and whose sidecars are true to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.plan import Plan, PlanManifest, write_plan
from nafnet_deploy.manifest import Bundle, sha256_of_bytes
from tests.tensorrt_double import PLAN


def plan_manifest(bundle: Bundle, data: bytes = PLAN, **changes: Any) -> PlanManifest:
    """The sidecar of a TensorRT-RTX plan for sm86 with all of the bundle's iterations."""
    manifest = PlanManifest(
        model=bundle.manifest,
        iterations=bundle.manifest.iterations,
        target="tensorrt-rtx",
        version="1.7.1.116",
        cuda="13",
        gpus=("sm86",),
        device="",
        inputs=bundle.manifest.inputs,
        outputs=bundle.manifest.outputs,
        profiles=(),
        precision_asked="fp32",
        precision_built="fp32",
        read_from="",
        layers={},
        flags=(),
        workspace=None,
        activation_bytes=None,
        plan_bytes=len(data),
        seconds=1.0,
        date="2026-01-01T00:00:00+00:00",
        warnings=(),
        versions={},
        graph_sha256=bundle.manifest.sha256[".onnx"],
        plan_sha256=sha256_of_bytes(data),
        key="key",
    )
    return dataclasses.replace(manifest, **changes)


def write(path: Path, bundle: Bundle, data: bytes = PLAN, **changes: Any) -> Path:
    """A plan and its sidecar."""
    return write_plan(Plan(data, plan_manifest(bundle, data, **changes)), path).path
