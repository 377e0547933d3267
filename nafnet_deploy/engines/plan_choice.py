"""Which plan on this disk serves a bundle on this machine, and why another does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from nafnet_deploy.engines.build import cache_folder
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.engines.flavour import FLAVOURS, flavour
from nafnet_deploy.engines.gpus import GPUS
from nafnet_deploy.engines.plan import PLAN_SUFFIX, PlanFile, PlanManifest, open_plan, read_plan_manifest, sidecar_of
from nafnet_deploy.engines.tensorrt_parts_plan import PartsFile, PartsManifest, parts_sidecar, read_parts_manifest
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
    """Reasoning iterations in it; `ANY` of a split bundle."""
    version: str
    """Version of the installed library."""
    gpu: LocalGpu
    """This machine's GPU."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """What to build for: this GPU where the library can be told so, else nothing (its own choice)."""
        known = GPUS.get(self.gpu.capability)
        return (self.gpu.capability,) if flavour(self.target).builds_for_others and known and known.rtx else ()

    def build_command(self) -> str:
        """The command that builds such a plan."""
        words = ["nafdeploy build", str(next(iter(self.bundle.graphs.values()))), "--target", self.target]
        if self.iterations and self.bundle.manifest.iterations > 1:
            words += ["--iters", str(self.iterations)]
        if self.gpus:
            words += ["--gpu", *self.gpus]
        return " ".join(words)


def plans_of(bundle: Bundle, target: str, iterations: int) -> Iterator[tuple[Path, PlanManifest]]:
    """The plans built from this graph for that library, newest first, not yet checked.

    Looked for beside the bundle, in `engines/`, and among those that earlier runs built (`cache_folder`).
    """
    found = []
    for folder in plan_folders(bundle):
        for path in sorted(folder.glob(f"*{PLAN_SUFFIX}")):
            try:
                manifest = read_plan_manifest(path)
            except (CheckpointError, ConfigError):  # a plan that says nothing about itself is nobody's plan
                continue
            if (manifest.graph_sha256, manifest.target, manifest.iterations) == (
                bundle.manifest.graph_sha256,
                target,
                iterations,
            ):
                found.append((path, manifest))
    yield from sorted(found, key=lambda item: item[1].date, reverse=True)


def plan_folders(bundle: Bundle) -> tuple[Path, ...]:
    """Where plans are looked for: beside the bundle, in `engines/`, and where earlier runs built them."""
    folders = (bundle.graph.parent, Path("engines"), *cache_folder().glob("*/"))
    return tuple(dict.fromkeys(folder.resolve() for folder in folders))


def fault_of(plan: PlanManifest | PartsManifest, wanted: Wanted) -> str:
    """Why a plan must not be loaded, in words; empty when it may. The plan itself is not touched."""
    if plan.target != wanted.target:
        return f"it is a plan of {flavour(plan.target).title}, not of {flavour(wanted.target).title}"
    if plan.graph_sha256 != wanted.bundle.manifest.graph_sha256:
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


def check_fit(plan: PlanFile | PartsFile, wanted: Wanted) -> None:
    """Refuses a plan that must not be loaded here.

    Raises:
        EngineError: with the command that builds one that fits.
    """
    if fault := fault_of(plan.manifest, wanted):
        raise EngineError(f"{plan.path.name} does not run here: {fault}.", f"Build one: {wanted.build_command()}")


def find_plan(wanted: Wanted) -> PlanFile | None:
    """The newest plan on this disk that fits, its hash checked; None when there is none.

    Raises:
        EngineError: it was changed since it was built.
    """
    for path, manifest in plans_of(wanted.bundle, wanted.target, wanted.iterations):
        if not fault_of(manifest, wanted):
            return open_plan(path)
    return None


def target_of(plan: Path, trust: bool = False) -> str:
    """The library a plan is for, as its sidecar says; of a trusted plan without one, its name (`X.<target>.engine`).

    Raises:
        CheckpointError: plan or sidecar is missing or unreadable.
        ConfigError: a sidecar of another format, or a name that tells nothing.
    """
    named = plan.name.removesuffix(PLAN_SUFFIX).rpartition(".")[2]
    if trust and named in FLAVOURS:
        return named
    if parts_sidecar(plan) != sidecar_of(plan):
        return read_parts_manifest(parts_sidecar(plan)).target
    return read_plan_manifest(plan).target


def iterations_of(engine: str) -> int | None:
    """The one number of iterations that an engine computes when it is the path of a plan; None for any other name,
    and for a plan without a readable sidecar.
    """
    try:
        return read_plan_manifest(Path(engine)).iterations if engine.endswith(PLAN_SUFFIX) else None
    except (CheckpointError, ConfigError):
        return None
