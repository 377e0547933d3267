"""What `bench` measures beside the times: the floor, processes of their own, profiles. None of it can end the run."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nafnet_deploy.cli.bench_engines import Subject, label_of
from nafnet_deploy.cli.console import say
from nafnet_deploy.errors import NafdeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nafnet_deploy.benchmarks.floor import Gemm, Product
    from nafnet_deploy.benchmarks.process_cost import ProcessCost
    from nafnet_deploy.benchmarks.profile import Profile
    from nafnet_deploy.benchmarks.recipe import BenchRecipe
    from nafnet_deploy.benchmarks.scale import ScaleReport, Shape
    from nafnet_deploy.parity.compare import Progress

CHILD = "nafnet_deploy.cli.bench_child"
"""What runs an engine in a process of its own."""
PROFILE_RUNS = 5
"""Profiled passes after the first."""


def fastest_gemm(threads: int | None) -> Gemm | None:
    """The best large matrix product of NumPy, ONNX Runtime and, where it is loaded already, PyTorch.

    With that number of threads, which cannot be asked of NumPy; None where nothing else is installed then.
    """
    import numpy as np

    from nafnet_deploy.benchmarks.floor import fastest_product, onnxruntime_product

    products: dict[str, Product] = {} if threads else {"numpy": np.dot}
    with contextlib.suppress(ImportError):
        products["onnxruntime"] = onnxruntime_product(threads)
    if "torch" in sys.modules:
        products["pytorch"] = partial(_torch_product, threads)
    return fastest_product(products) if products else None


def _torch_product(threads: int | None, a: NDArray[np.float32], b: NDArray[np.float32]) -> object:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return torch.mm(torch.from_numpy(a), torch.from_numpy(b))
    finally:
        torch.set_num_threads(before)


def network_macs(subject: Subject, iterations: int) -> float | None:
    """Multiply-adds of the exported graph for the subject's shape; None without the package onnx or for a split one."""
    from nafnet_deploy.benchmarks.floor import count_macs
    from nafnet_deploy.engines.cut import graph_of_iterations
    from nafnet_deploy.errors import MissingDependency

    if subject.bundle.manifest.parts:
        return None
    try:
        graph = graph_of_iterations(subject.bundle, iterations)
        return count_macs(Path(graph) if isinstance(graph, str) else graph, subject.shape)
    except (ImportError, MissingDependency):
        return None


def measure_processes(subject: Subject, names: Sequence[str], iterations: int) -> dict[str, ProcessCost]:
    """Label -> start-up time and peak memory, each engine in a process of its own; one that fails is told."""
    from nafnet_deploy.benchmarks.process_cost import measure_process

    found = {}
    for name in names:
        try:
            request = subject.request(name, iterations)
            found[label_of(name)] = measure_process(CHILD, request)
        except NafdeployError as error:
            say(f"The memory of {label_of(name)} is unknown: {error.message}")
    return found


def measure_profiles(subject: Subject, names: Sequence[str], iterations: int) -> tuple[Profile, ...]:
    """Per engine that offers it, the time of each kind of operator; of a plan, its layers."""
    from nafnet_deploy.benchmarks.profile import Profile, read_events, read_layers
    from nafnet_deploy.engines.base import restore_batch
    from nafnet_deploy.parity.inputs import natural_batch

    batch, found = natural_batch(subject.shape, seed=0), []
    for name in names:
        try:
            if name in ("onnxruntime", "onnxruntime-naive"):
                from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine

                with TemporaryDirectory(prefix="nafdeploy-profile-") as scratch:
                    if name == "onnxruntime":
                        opened = OnnxRuntimeEngine.open(subject.bundle, iterations, subject.threads, Path(scratch))
                    else:
                        graph = str(subject.naive_graph(iterations))
                        opened = OnnxRuntimeEngine(graph, subject.threads, Path(scratch))
                    with opened:
                        for _ in range(PROFILE_RUNS + 1):
                            restore_batch(opened, batch)
                        runs, ops = read_events(opened.end_profile())
                found.append(Profile(label_of(name), iterations, runs, ops))
                continue
            if name in ("auto", "tensorrt", "tensorrt-rtx") or name.endswith(".engine"):
                with subject.open(name, iterations) as engine:
                    layers = getattr(engine, "layers_json", None)
                    if layers is not None:
                        found.append(Profile(label_of(name), iterations, 0, read_layers(layers())))
                        continue
            say(f"{label_of(name)} offers no profile.")
        except NafdeployError as error:
            say(f"The profile of {label_of(name)} is left out: {error.message}")
    return tuple(found)


def measure_scale(
    subject: Subject, names: Sequence[str], iterations: int, recipe: BenchRecipe, on_progress: Progress
) -> ScaleReport:
    """Time and memory of each engine as picture, batch and threads grow; see `benchmarks.scale`."""
    from nafnet_deploy.benchmarks.process_cost import measure_process
    from nafnet_deploy.benchmarks.scale import run_scale
    from nafnet_deploy.environment import read_environment
    from nafnet_deploy.runtime.memory import available_memory

    by_label = {label_of(name): name for name in names}

    def measure(label: str, shape: Shape, threads: int | None) -> ProcessCost:
        changed = dataclasses.replace(subject, shape=shape, threads=threads)
        return measure_process(CHILD, changed.request(by_label[label], iterations, recipe.runs))

    def free_mib() -> float | None:
        free = available_memory()
        return None if free is None else free / 2**20

    manifest = subject.bundle.manifest
    return run_scale(
        list(by_label),
        measure,
        manifest.name,
        manifest.precision,
        iterations,
        manifest.size_multiple,
        manifest.model.planes,
        recipe.megapixels,
        recipe.batches,
        read_environment().cores,
        recipe.threads,
        free_mib,
        on_progress,
    )
