"""The engines by name; an engine's packages are imported when it is opened."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.cut import check_iterations
from nafnet_deploy.engines.driver import local_gpu
from nafnet_deploy.engines.plan_choice import plans_of, target_of
from nafnet_deploy.engines.stopping import Budget, StopRule
from nafnet_deploy.engines.tensorrt_parts_plan import plan_of
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, MachineError, MissingDependency
from nafnet_deploy.manifest import STEP, Bundle, ModelManifest, Stopping
from nafnet_deploy.tables import nearest


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where an engine lives."""

    target: str
    """`module:opener` inside this package; the opener has `open(bundle, iterations, threads)`."""
    extra: str
    """The extra of this distribution that brings its packages."""
    arithmetic: tuple[str, ...]
    """What it computes in: `fp32`, `fp16` (of a half graph, which the others widen), `bf16`."""
    plans: bool = False
    """Whether it runs plans that were built before; its `open` then also takes `plan` and `trust`."""
    steps: str = ""
    """`module:opener`, in this room, for split bundles, which run in steps; the opener has `open(bundle, threads)` and,
    with `plans`, takes `plan`. Empty where it does not run them."""


WIDE, BOTH = ("fp32",), ("fp32", "fp16")
ENGINES = {
    "onnxruntime": Entry(
        "nafnet_deploy.engines.onnxruntime:OnnxRuntimeEngine", "cpu", WIDE, steps="onnxruntime_parts:CPU"
    ),
    "onnxruntime-cuda": Entry(
        "nafnet_deploy.engines.onnxruntime_gpu:OnnxRuntimeCuda", "gpu", BOTH, steps="onnxruntime_parts:CUDA"
    ),
    "onnxruntime-tensorrt": Entry("nafnet_deploy.engines.onnxruntime_gpu:OnnxRuntimeTensorRT", "gpu", BOTH),
    "onnxruntime-nv-tensorrt-rtx": Entry("nafnet_deploy.engines.onnxruntime_gpu:OnnxRuntimeRtx", "cpu", BOTH),
    "openvino": Entry("nafnet_deploy.engines.openvino:FP32", "openvino", WIDE),
    "openvino-bf16": Entry("nafnet_deploy.engines.openvino:BF16", "openvino", ("bf16",)),
    "tensorrt": Entry(
        "nafnet_deploy.engines.tensorrt_open:TENSORRT", "tensorrt", BOTH, True, "tensorrt_parts_open:TENSORRT"
    ),
    "tensorrt-rtx": Entry(
        "nafnet_deploy.engines.tensorrt_open:TENSORRT_RTX",
        "tensorrt-rtx",
        BOTH,
        True,
        "tensorrt_parts_open:TENSORRT_RTX",
    ),
}
"""Every engine there is."""
AUTO = "auto"
"""The name that stands for the fastest engine that works here."""
LAST = "onnxruntime"
"""The engine that every machine has."""


class _Opener(Protocol):
    def open(self, bundle: Bundle, iterations: int | None, threads: int | None, **plan: Any) -> Engine: ...


def open_engine(
    name: str,
    bundle: Bundle,
    iterations: int | None = None,
    threads: int | None = None,
    trust: bool = False,
    note: Callable[[str], None] | None = None,
) -> Engine:
    """Opens a bundle in the engine of that name.

    Args:
        name: a key of `ENGINES`, `auto` for the fastest that works here, or the path of a plan (`.engine`).
        bundle: what `open_bundle` returned.
        iterations: reasoning iterations; None for all that the graph has.
        threads: CPU threads; None leaves the choice to the engine.
        trust: load a plan given by path without checking whose it is. A plan is an executable artefact.
        note: told in one line each what `auto` tried and passed over, though it was there.

    Raises:
        ConfigError: an unknown engine, iterations or threads below 1, or trust where it has no place.
        MissingDependency: the engine's package is not installed.
        MachineError: the machine lacks what the engine needs: a driver, a GPU, a library.
        CheckpointError: a plan given by path is missing or has no sidecar.
        EngineError: the graph or plan cannot be loaded, does not fit or has fewer iterations.
    """
    if bundle.manifest.parts:
        if trust:
            raise ConfigError("what runs in steps is always checked.", "Leave --trust-engine out.")
        n = bundle.manifest.default_iterations if iterations is None else iterations
        rule = StopRule(n, stopping=stopping_of(bundle.manifest))
        return open_anytime(name, bundle, rule, threads=threads, note=note)
    if name == AUTO:
        return open_fastest(bundle, iterations, threads, note)
    options: dict[str, Any] = {}
    if name.endswith(".engine"):
        options = {"plan": Path(name), "trust": trust}
        name = target_of(Path(name), trust)
    if name not in ENGINES:
        raise ConfigError(f"the engine {name!r} is unknown.", nearest(name, (*ENGINES, AUTO)))
    entry = ENGINES[name]
    if trust and not options:
        raise ConfigError("only a plan given by its path can be trusted.", "Use --engine X.engine --trust-engine")
    module, _, attribute = entry.target.partition(":")
    try:
        opener = cast(_Opener, getattr(importlib.import_module(module), attribute))
    except ImportError as error:
        package = error.name or name
        raise MissingDependency(package, entry.extra, f"by the engine {name!r}") from error
    return opener.open(bundle, iterations, threads, **options)


def open_anytime(
    name: str,
    bundle: Bundle,
    rule: StopRule,
    budget: Budget | None = None,
    threads: int | None = None,
    note: Callable[[str], None] | None = None,
) -> AnytimeEngine:
    """Opens a split bundle in the engine of that name, to stop by a rule.

    Args:
        name: an engine that runs steps, a plan of one of the parts (`X.step.engine`, the others lie beside it), or
            `auto`: plans that are there and fit, CUDA where it starts, else the CPU.
        bundle: a split bundle.
        rule: when a picture has had enough iterations.
        budget: time that a picture may take; None for any.
        threads: CPU threads; None leaves the choice to the engine.
        note: told in one line each what `auto` tried and passed over, though it was there.

    Raises:
        ConfigError: an unknown engine, or threads below 1.
        MissingDependency: the engine's package is not installed.
        MachineError: the machine lacks what the engine needs.
        CheckpointError: a plan given by path is missing or has no sidecar.
        EngineError: the bundle is not split, or the engine does not run steps or cannot load the graphs.
    """
    if not bundle.manifest.parts:
        raise EngineError(
            f"{bundle.graph.name} has no step graph: its iterations are unrolled.",
            f"Make one that stops by itself with: nafdeploy export {bundle.manifest.exported_from} --mode split",
        )
    if name == AUTO:
        for candidate in _step_candidates(bundle):
            try:
                return open_anytime(candidate, bundle, rule, budget, threads)
            except (EngineError, MachineError, CheckpointError) as error:
                if note is not None:
                    note(f"{Path(candidate).name} is passed over: {error.message}")
        name = LAST
    options: dict[str, Any] = {}
    if name.endswith(".engine"):
        options = {"plan": Path(name)}
        name = target_of(Path(name))
    able = [key for key, entry in ENGINES.items() if entry.steps]
    if name not in able:
        if name in ENGINES:
            raise EngineError(
                f"the engine {name!r} does not run split bundles.",
                f"Use --engine {' or '.join(able)}, or export with --mode unrolled.",
            )
        raise ConfigError(f"the engine {name!r} is unknown.", nearest(name, (*ENGINES, AUTO)))
    entry = ENGINES[name]
    module, _, attribute = entry.steps.partition(":")
    try:
        opener = getattr(importlib.import_module(f"nafnet_deploy.engines.{module}"), attribute)
    except ImportError as error:
        raise MissingDependency(error.name or name, entry.extra, f"by the engine {name!r}") from error
    return AnytimeEngine(opener.open(bundle, threads, **options), bundle.manifest, rule, budget)


def _step_candidates(bundle: Bundle) -> Iterator[str]:
    """The engines worth a try for a split bundle, before the CPU."""
    if local_gpu() is None:
        return
    from nafnet_deploy.engines.tensorrt_parts_open import parts_of

    for name, entry in ENGINES.items():
        if entry.plans:  # by path: by name, missing plans would be built, and that may take minutes
            yield from (str(plan_of(path, STEP)) for path, _ in parts_of(bundle, name))
    if _listed("CUDAExecutionProvider"):
        yield "onnxruntime-cuda"


def stopping_of(manifest: ModelManifest) -> Stopping:
    """How a split bundle's `delta` relates to the picture."""
    return manifest.stopping or Stopping(1.0)


def open_fastest(
    bundle: Bundle, iterations: int | None, threads: int | None, note: Callable[[str], None] | None = None
) -> Engine:
    """Opens the first candidate that opens: a plan that is there and fits, CUDA, OpenVINO, ONNX Runtime on the CPU.

    Builds nothing. OpenVINO is asked for float32 alone: what computes otherwise than the graph says is never chosen for
    the user.

    Args:
        bundle: what `open_bundle` returned.
        iterations: reasoning iterations; None for all that the graph has.
        threads: for an engine on the CPU.
        note: told why a candidate that was there was passed over.

    Raises:
        ConfigError, EngineError, MissingDependency: what the engine on the CPU raises, when that fails too.
    """
    n = bundle.manifest.iterations if iterations is None else iterations
    check_iterations(bundle.manifest, n)
    notes, opened = [], None
    for name in _candidates(bundle, n):
        try:
            opened = open_engine(name, bundle, n, threads)
            break
        except (EngineError, MachineError) as error:
            notes.append(f"{Path(name).name} is passed over: {error.message}")
    if opened is None:
        opened = open_engine(LAST, bundle, n, threads)  # where this fails too, its error says it all
        if bundle.manifest.precision == "fp16":
            notes.append(
                "this is an fp16 graph on a CPU, where it is no faster than the fp32 one: export that for this machine"
            )
    if note is not None:
        for line in notes:
            note(line)
    return opened


def _candidates(bundle: Bundle, iterations: int) -> Iterator[str]:
    """The engines worth a try: on a machine without a GPU or a package, none is missed."""
    if local_gpu() is not None:
        for name, entry in ENGINES.items():
            if entry.plans:  # by path: by name, a missing plan would be built, and that may take minutes
                yield from (str(path) for path, _ in plans_of(bundle, name, iterations))
        if _listed("CUDAExecutionProvider"):
            yield "onnxruntime-cuda"
    if bundle.manifest.precision == "fp32" and _installed("openvino"):
        yield "openvino"


def _installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def _listed(provider: str) -> bool:
    try:
        import onnxruntime
    except ImportError:
        return False
    return provider in onnxruntime.get_available_providers()
