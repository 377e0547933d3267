"""Which plan on this disk serves a bundle on this machine, and why another does not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.engines.flavour import FLAVOURS, flavour
from nafnet_deploy.engines.gpus import GPUS
from nafnet_deploy.engines.plan import PLAN_SUFFIX, PlanFile, PlanManifest, open_plan, read_plan_manifest
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError
from nafnet_deploy.manifest import Bundle

_OLDEST_PORTABLE = 80
"""A portable TensorRT-RTX plan serves compute capability 8.0 and later."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a plan must be to run here."""

    bundle: Bundle
    """The graph it must be built from."""
    target: str
    """`tensorrt` or `tensorrt-rtx`."""
    iterations: int
    """Reasoning iterations in it."""
    version: str
    """Version of the installed library."""
    gpu: LocalGpu
    """This machine's GPU."""

    def build_command(self) -> str:
        """The command that builds such a plan."""
        command = f"nafdeploy build {self.bundle.graph} --target {self.target}"
        if self.bundle.manifest.iterations > 1:
            command += f" --iters {self.iterations}"
        known = GPUS.get(self.gpu.capability)
        if flavour(self.target).builds_for_others and known is not None and known.rtx:
            command += f" --gpu {self.gpu.capability}"
        return command


def cache_folder() -> Path:
    """Where this user's machine-made files go: `NAFDEPLOY_CACHE`, or `nafnet-deploy` in the cache of the system."""
    if own := os.environ.get("NAFDEPLOY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nafnet-deploy"


def plan_folders(bundle: Bundle) -> tuple[Path, ...]:
    """Where plans are looked for: beside the bundle, in `engines/`, and in the user's cache."""
    return bundle.graph.parent, Path("engines"), cache_folder() / "plans"


def plans_of(bundle: Bundle, target: str, iterations: int) -> Iterator[tuple[Path, PlanManifest]]:
    """The plans of `plan_folders` that were built from this graph for that library, not yet checked; newest first."""
    found = []
    for folder in dict.fromkeys(folder.resolve() for folder in plan_folders(bundle)):
        for path in sorted(folder.glob(f"*{PLAN_SUFFIX}")):
            try:
                manifest = read_plan_manifest(path)
            except (CheckpointError, ConfigError):  # a plan that says nothing about itself is nobody's plan
                continue
            if (manifest.graph_sha256, manifest.target, manifest.iterations) == (
                bundle.manifest.sha256.get(".onnx"),
                target,
                iterations,
            ):
                found.append((path, manifest))
    yield from sorted(found, key=lambda item: item[1].date, reverse=True)


def fault_of(plan: PlanManifest, wanted: Wanted) -> str:
    """Why a plan must not be loaded, in words; empty when it may. The plan itself is not touched."""
    if plan.target != wanted.target:
        return f"it is a plan of {flavour(plan.target).title}, not of {flavour(wanted.target).title}"
    if plan.graph_sha256 != wanted.bundle.manifest.sha256.get(".onnx"):
        return f"it was built from another graph than {wanted.bundle.graph.name}"
    if plan.iterations != wanted.iterations:
        return f"it computes {plan.iterations} iterations and {wanted.iterations} were asked for"
    if plan.version != wanted.version:
        return f"it was built with version {plan.version} of the library, and {wanted.version} is installed"
    gpu = wanted.gpu
    if plan.gpus and gpu.capability not in plan.gpus:
        return f"it was built for {', '.join(plan.gpus)}, and this {gpu.name} is {gpu.capability}"
    if not plan.gpus and int(gpu.capability.removeprefix("sm")) < _OLDEST_PORTABLE:
        return f"it serves sm80 and later, and this {gpu.name} is {gpu.capability}"
    return ""


def check_fit(plan: PlanFile, wanted: Wanted) -> None:
    """Refuses a plan that must not be loaded here.

    Raises:
        EngineError: with the command that builds one that fits.
    """
    if fault := fault_of(plan.manifest, wanted):
        raise EngineError(f"{plan.path.name} does not run here: {fault}.", f"Build one: {wanted.build_command()}")


def plan_for(wanted: Wanted) -> PlanFile:
    """The newest plan on this disk that fits. The one place to build a missing plan on the fly.

    Raises:
        EngineError: there is none, with the command that builds it.
    """
    faults = []
    for path, manifest in plans_of(wanted.bundle, wanted.target, wanted.iterations):
        if not (fault := fault_of(manifest, wanted)):
            return open_plan(path)
        faults.append(f"{path.name} does not: {fault}")
    title = flavour(wanted.target).title
    raise EngineError(
        f"no {title} plan of {wanted.bundle.graph.name} with {wanted.iterations} iterations runs on this "
        f"{wanted.gpu.capability}" + "".join(f"; {fault}" for fault in faults) + ".",
        f"Build one: {wanted.build_command()}",
    )


def target_of(plan: Path, trust: bool = False) -> str:
    """The library a plan is for, as its sidecar says; of a trusted plan without one, its name (`X.<target>.engine`).

    Raises:
        CheckpointError: plan or sidecar is missing or unreadable.
        ConfigError: a sidecar of another format, or a name that tells nothing.
    """
    named = plan.name.removesuffix(PLAN_SUFFIX).rpartition(".")[2]
    if trust and named in FLAVOURS:
        return named
    return read_plan_manifest(plan).target
