"""One builder for TensorRT 10.12 and later, TensorRT 11 and TensorRT-RTX; the library is an argument."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import re
import threading
import time
from pathlib import Path
from typing import Any

from nafnet_deploy.engines import tensorrt_network as networks
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.build_spec import USABLE, BuildSpec, build_spec
from nafnet_deploy.engines.driver import LocalGpu, local_gpu
from nafnet_deploy.engines.flavour import cuda_of_wheel, flavour
from nafnet_deploy.engines.plan import Plan, PlanManifest
from nafnet_deploy.engines.tensorrt_config import configure, flags_of, save_timing_cache
from nafnet_deploy.engines.tensorrt_log import Heard, library_logger, listening
from nafnet_deploy.engines.tensorrt_progress import OnProgress, Progress, monitor_of, run_stoppable
from nafnet_deploy.engines.tensorrt_readback import check_plan
from nafnet_deploy.errors import EngineError, ExportError, MachineError
from nafnet_deploy.manifest import Bundle, sha256_of_bytes

_ONE_AT_A_TIME = threading.Lock()
"""The library's log belongs to the process: two builds at once could not tell their messages apart."""


def build_plan(
    bundle: Bundle,
    recipe: BuildRecipe,
    module: Any,
    on_progress: OnProgress = lambda phase, share: None,
) -> Plan:
    """Builds a plan and compares it with what was asked for. Writes nothing but the timing cache.

    The work runs on a thread of its own; Ctrl-C stops it at the library's next step.

    Args:
        bundle: what `open_bundle` returned.
        recipe: what to build.
        module: what `load_library` returned.
        on_progress: told phase and share done, from the worker thread; what it raises ends the build.

    Raises:
        ConfigError: impossible shapes.
        EngineError: a shape, number of iterations or GPU that does not fit.
        MachineError: the library builds only for its own GPU, and there is none.
        MissingDependency: onnx is not installed.
        ExportError: the library failed, or built something else than was asked for.
        KeyboardInterrupt: Ctrl-C; the build has ended by then.
    """
    spec, device = resolve(bundle, recipe)
    check_machine(recipe, device)
    return build_from(bundle, spec, device, recipe, module, on_progress)


def build_from(
    bundle: Bundle, spec: BuildSpec, device: LocalGpu | None, recipe: BuildRecipe, module: Any, on_progress: OnProgress
) -> Plan:
    """As `build_plan`, with everything decided.

    Args:
        bundle: one graph and what it takes and gives.
        spec: what to build.
        device: this machine's GPU.
        recipe: what was asked for.
        module: what `load_library` returned.
        on_progress: as for `build_plan`.
    """
    progress = Progress(on_progress)

    def work() -> Plan:
        with _ONE_AT_A_TIME, listening(module) as heard:
            return _build(bundle, spec, recipe, module, progress, heard, device)

    plan = run_stoppable(work, progress)
    on_progress("done", 1.0)  # the library does not report its last steps
    return plan


def resolve(bundle: Bundle, recipe: BuildRecipe) -> tuple[BuildSpec, LocalGpu | None]:
    """What the recipe means for this bundle on this machine, and this machine's GPU.

    Raises:
        ConfigError, EngineError: as for `build_spec`.
    """
    device = local_gpu()
    if device is None:
        return build_spec(bundle.manifest, recipe), None
    return build_spec(bundle.manifest, recipe, device.capability, device.memory_gib), device


def check_machine(recipe: BuildRecipe, device: LocalGpu | None) -> None:
    """Refuses a machine on which the library cannot build for the GPU that was asked for.

    Raises:
        MachineError: it builds only for its own GPU, and there is none.
        EngineError: it builds only for its own GPU, which is another one.
    """
    wanted = flavour(recipe.target)
    if wanted.builds_for_others:
        return
    if device is None:
        raise MachineError(
            f"{wanted.title} builds for the GPU it runs on, and this machine has none.",
            "Build on the machine that will run the plan, or use --target tensorrt-rtx, which needs no GPU.",
        )
    if recipe.gpus and recipe.gpus != (device.capability,):
        raise EngineError(
            f"{wanted.title} builds for the GPU it runs on, the {device.name} ({device.capability}), not for "
            f"{recipe.gpus[0]}.",
            f"Leave --gpu out, or build on a machine with {recipe.gpus[0]}.",
        )


def plan_key(spec: BuildSpec, module: Any, device: LocalGpu | None) -> str:
    """Hash of all that decides the plan; see `BuildSpec.key`."""
    return spec.key(str(module.__version__), _device_name(spec, device))


def _device_name(spec: BuildSpec, device: LocalGpu | None) -> str:
    return "" if device is None or flavour(spec.target).builds_for_others else device.name


def _build(
    bundle: Bundle,
    spec: BuildSpec,
    recipe: BuildRecipe,
    module: Any,
    progress: Progress,
    heard: Heard,
    device: LocalGpu | None,
) -> Plan:
    logger = library_logger(module)
    model = networks.read_graph(bundle, spec.iterations)
    # Builder, network, config and monitor are held here until the plan exists: the library's objects hold none
    # of each other, and a collected one crashes the process.
    builder = module.Builder(logger)
    network = networks.parse(module, builder, logger, model)
    networks.check_network(network, model, bundle.manifest)
    config = builder.create_builder_config()
    cache = configure(module, builder, config, network, spec, recipe)
    monitor = monitor_of(module, progress)
    config.progress_monitor = monitor
    started = time.perf_counter()
    serialized = None if progress.stopped else builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started
    if progress.stopped:
        raise ExportError("the build was stopped.")
    networks.check_warnings(heard)
    if serialized is None or serialized.nbytes == 0:
        raise _failure(heard, spec)
    data = bytes(serialized)
    read_from = check_plan(module, logger, data, network, spec.gpus, device)
    _check_memory(heard, spec)
    if cache is not None:
        save_timing_cache(cache, Path(recipe.timing_cache))
    return Plan(
        data,
        PlanManifest(
            model=bundle.manifest,
            iterations=spec.iterations,
            target=spec.target,
            version=str(module.__version__),
            cuda=cuda_of_wheel(spec.target),
            gpus=spec.gpus,
            device=_device_name(spec, device),
            inputs=networks.network_inputs(network),
            outputs=networks.network_outputs(network),
            profiles=spec.profiles,
            precision_asked=spec.precision,
            precision_built=networks.precision_of(network),
            layers=networks.layer_types(network),
            flags=flags_of(module, config),
            workspace=spec.workspace,
            read_from=read_from,
            activation_bytes=heard.activation_bytes,
            plan_bytes=len(data),
            seconds=round(seconds, 3),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            warnings=tuple(heard.warnings),
            versions={name: importlib.metadata.version(name) for name in ("nafnet-deploy", "onnx")},
            graph_sha256=spec.graph_sha256,
            plan_sha256=sha256_of_bytes(data),
            key=plan_key(spec, module, device),
        ),
    )


def _failure(heard: Heard, spec: BuildSpec) -> ExportError:
    """The library's last word as one of our errors."""
    text = " ".join(heard.errors[-1].split())[:300] if heard.errors else "it does not say why"
    if spec.workspace is not None and (re.search("OutOfMemory|workspace limit", text) or not heard.errors):
        # The library names only the first block that did not fit, or nothing: the estimate says more.
        needed = math.ceil(spec.activation_bytes / 2**20)
        amount = f" (about {needed} MiB)" if needed > spec.workspace else ""  # the estimate may be too low
        return ExportError(
            f"the plan does not fit a workspace of {spec.workspace} MiB.",
            f"Give a larger --workspace{amount}, none at all, or a smaller --max-shape.",
        )
    return ExportError(f"the library built nothing: {text}.", "Look at its whole log with --debug.")


def _check_memory(heard: Heard, spec: BuildSpec) -> None:
    """Compares the library's own figure with the GPU; the estimate before the build may have been too low."""
    if heard.activation_bytes is not None and heard.activation_bytes > spec.gpu_memory * USABLE:
        raise ExportError(
            f"the plan needs {heard.activation_bytes / 2**30:.1f} GiB for its activations and the GPU has "
            f"{spec.gpu_memory / 2**30:.0f}.",
            "Use a smaller --max-shape and tiles when you run it, or state a larger card with --gpu-memory.",
        )
