"""Opens one engine in a process of its own, runs it, and prints what that took; see `benchmarks.process_cost`."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from nafnet_deploy.benchmarks.device_state import read_device
from nafnet_deploy.benchmarks.process_cost import ProcessCost, peak_mib
from nafnet_deploy.cli.bench_engines import Subject
from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.manifest import Bundle, bundle_graph, read_manifest
from nafnet_deploy.parity.inputs import natural_batch

SECONDS = 60.0
"""No further pass begins after this long."""


def main() -> None:
    """Reads the request from stdin and prints a `ProcessCost` as JSON."""
    request = json.loads(sys.stdin.read())
    device = read_device()
    batch = natural_batch(tuple(request["shape"]), seed=0)
    with _open(request) as engine:
        restore_batch(engine, batch)
        startup = (time.time_ns() - request["born_ns"]) / 1e6
        times: list[float] = []
        while len(times) < request["runs"] and sum(times) < SECONDS * 1e3:
            start = time.perf_counter_ns()
            restore_batch(engine, batch)
            times.append((time.perf_counter_ns() - start) / 1e6)
        after = read_device()
    grown = None
    if device is not None and after is not None and device.used_mib is not None and after.used_mib is not None:
        grown = after.used_mib - device.used_mib
    print(json.dumps(dataclasses.asdict(ProcessCost(startup, peak_mib(), grown, tuple(times)))))


def _open(request: dict[str, Any]) -> Engine:
    name, threads = request["engine"], request["threads"]
    if name == "onnxruntime-naive":  # the parent exported it: the export is no part of running it
        from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(request["graph"], threads)
    checkpoint = None
    if request["checkpoint"]:
        from nafnet_deploy.checkpoints.store import load_checkpoint

        checkpoint = load_checkpoint(Path(request["checkpoint"]))
    manifest = Path(request["bundle"])
    batch, channels, height, width = request["shape"]
    subject = Subject(
        Bundle(bundle_graph(manifest), read_manifest(manifest)),
        checkpoint,
        manifest.parent,
        (batch, channels, height, width),
        threads,
        request["trust"],
    )
    return subject.open(name, request["iterations"])


if __name__ == "__main__":
    main()
