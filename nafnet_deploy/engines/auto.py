"""The fastest engine that really works on this machine for this bundle: a fitting plan, then CUDA, then the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.cut import check_iterations
from nafnet_deploy.engines.driver import local_gpu
from nafnet_deploy.engines.plan_choice import plans_of
from nafnet_deploy.engines.registry import ENGINES, open_engine
from nafnet_deploy.errors import EngineError, MachineError
from nafnet_deploy.manifest import Bundle

LAST = "onnxruntime"
"""The engine that every machine has."""


def open_fastest(
    bundle: Bundle, iterations: int | None, threads: int | None, note: Callable[[str], None] | None = None
) -> Engine:
    """Opens the first candidate that opens.

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
    for name in _candidates(bundle, n):
        try:
            return open_engine(name, bundle, n, threads)
        except (EngineError, MachineError) as error:
            if note is not None:
                note(f"{Path(name).name} is passed over: {error.message}")
    if bundle.manifest.precision == "fp16" and note is not None:
        note("this is an fp16 graph on a CPU, where it is no faster than the fp32 one: export that for this machine")
    return open_engine(LAST, bundle, n, threads)


def _candidates(bundle: Bundle, iterations: int) -> Iterator[str]:
    """The engines worth a try: on a machine without a GPU or a package, none is missed."""
    if local_gpu() is None:
        return
    for name, entry in ENGINES.items():
        if entry.plans:  # by path: by name, a missing plan would be built, and that may take minutes
            yield from (str(path) for path, _ in plans_of(bundle, name, iterations))
    if _listed("CUDAExecutionProvider"):
        yield "onnxruntime-cuda"


def _listed(provider: str) -> bool:
    try:
        import onnxruntime
    except ImportError:
        return False
    return provider in onnxruntime.get_available_providers()
