"""A plan on disk for a bundle: found where it was built before, else built."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.build_spec import BuildSpec
from nafnet_deploy.engines.plan import PLAN_SUFFIX, PlanFile, open_plan, sidecar_of, write_plan
from nafnet_deploy.engines.tensorrt_builder import build_plan, check_machine, plan_key, resolve
from nafnet_deploy.engines.tensorrt_progress import OnProgress
from nafnet_deploy.errors import NafdeployError, UsageError
from nafnet_deploy.manifest import Bundle, read_manifest


@dataclasses.dataclass(frozen=True)
class Built:
    """The outcome of a build."""

    file: PlanFile
    """Plan and sidecar on disk."""
    reused: bool
    """Whether it was there already."""


def run_build(
    bundle: Bundle,
    recipe: BuildRecipe,
    module: Any,
    on_progress: OnProgress = lambda phase, share: None,
) -> Built:
    """Builds a plan and writes it with its sidecar, or returns the one there that the same build made.

    The same build: graph, iterations, library and version, GPUs, shapes and limits agree (`PlanManifest.key`) and
    the plan's hash is what its sidecar says.

    Raises:
        UsageError: the folder cannot be written.
        And whatever `build_plan` and `write_plan` raise.
    """
    spec, device = resolve(bundle, recipe)
    check_machine(recipe, device)
    path = target_path(spec, recipe)
    key = plan_key(spec, module, device)
    if (found := _find(path, key)) is not None:
        return Built(found, reused=True)
    check_writable(path.parent)  # before the build, which may take minutes
    check_sidecar(sidecar_of(path))
    return Built(write_plan(build_plan(bundle, recipe, module, on_progress), path), reused=False)


def cached_plan(
    bundle: Bundle,
    recipe: BuildRecipe,
    module: Any,
    on_progress: OnProgress = lambda phase, share: None,
) -> Built:
    """As `run_build`, in a folder of the user's cache that no other build shares; `recipe.output` is ignored."""
    spec, device = resolve(bundle, recipe)
    folder = cache_folder() / plan_key(spec, module, device)[:16]
    return run_build(bundle, dataclasses.replace(recipe, output=str(folder)), module, on_progress)


def cache_folder() -> Path:
    """Where plans are kept that nobody named: NAFDEPLOY_CACHE, or the system's folder for caches."""
    if own := os.environ.get("NAFDEPLOY_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "nafnet-deploy" / "plans"


def target_path(spec: BuildSpec, recipe: BuildRecipe) -> Path:
    """Where the plan goes: the recipe's folder and the spec's name, or the file that was asked for."""
    output = Path(recipe.output)
    return output if output.suffix == PLAN_SUFFIX else output / spec.file_name


def _find(path: Path, key: str) -> PlanFile | None:
    if not path.is_file():
        return None
    try:
        found = open_plan(path)
    except NafdeployError:  # damaged, or of another version of this program: build it anew
        return None
    return found if found.manifest.key == key else None


def check_sidecar(sidecar: Path) -> None:
    """Refuses to replace the manifest of a bundle by that of its plan: `model.engine` beside `model.onnx`.

    Raises:
        UsageError: it would be.
    """
    try:
        read_manifest(sidecar)
    except NafdeployError:  # nothing, or the sidecar of a plan, or a damaged one
        return
    raise UsageError(f"{sidecar} is the manifest of a bundle and would be replaced.", "Give another name with -o.")


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be written, without making it: a build that fails must leave nothing behind.

    Raises:
        UsageError: it cannot.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"{folder} cannot be written.", "Choose another -o.")
