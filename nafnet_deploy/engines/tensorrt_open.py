"""Opens a bundle in TensorRT or TensorRT-RTX: finds its plan, checks it against this machine, loads it."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.build import cached_plan
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.cuda.base import driver_too_old, no_gpu, open_cuda
from nafnet_deploy.engines.cut import check_iterations
from nafnet_deploy.engines.driver import LocalGpu, local_gpu
from nafnet_deploy.engines.flavour import cuda_of_wheel, flavour, load_library
from nafnet_deploy.engines.plan import PlanFile, open_plan
from nafnet_deploy.engines.plan_choice import Wanted, check_fit, find_plan
from nafnet_deploy.engines.tensorrt_runner import TensorRTEngine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle, TensorSpec

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PlanOpener:
    """The opener of one library of the TensorRT family."""

    target: str
    """`tensorrt` or `tensorrt-rtx`."""

    def open(
        self,
        bundle: Bundle,
        iterations: int | None = None,
        threads: int | None = None,
        plan: Path | None = None,
        trust: bool = False,
    ) -> TensorRTEngine:
        """Loads the plan of a bundle on the first GPU.

        Args:
            bundle: what `open_bundle` returned.
            iterations: reasoning iterations; None for all that the graph has. A plan has one number of them.
            threads: of no meaning on a GPU.
            plan: the plan; None takes the newest one on this disk that fits, and builds one when none does.
            trust: load `plan` without asking whose it is and whether it fits. A plan is an executable artefact.

        Raises:
            MissingDependency, MachineError: the library, a package for GPU memory, the driver or a GPU is missing, or
                the driver is too old.
            CheckpointError: `plan` or its sidecar is missing or unreadable.
            ExportError: no plan was there and none could be built.
            EngineError: the plan does not fit, or the library refuses it.
        """
        n = bundle.manifest.iterations if iterations is None else iterations
        check_iterations(bundle.manifest, n)
        # Files first: a damaged plan is a damaged plan on any machine.
        given = None if plan is None or trust else open_plan(plan)
        library = load_library(self.target)
        gpu = usable_gpu(self.target)
        wanted = Wanted(bundle, self.target, n, str(library.__version__), gpu)
        name = f"{self.target} {'.'.join(wanted.version.split('.')[:2])} {gpu.capability}"
        if plan is not None and trust:
            path, precision = plan, "untrusted"
        else:
            found = given or find_plan(wanted) or build_missing(wanted, library)
            check_fit(found, wanted)
            path, precision = found.path, found.manifest.precision_built
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
        axes = {spec.name: spec.shape for spec in (*bundle.manifest.inputs, *bundle.manifest.outputs)}
        opened = TensorRTEngine(library, open_cuda(), data, f"{name} {precision}", axes)
        if _names(opened.inputs, opened.outputs) != _names(bundle.manifest.inputs, bundle.manifest.outputs):
            opened.close()
            raise EngineError(
                f"{path.name} does not have the inputs and outputs of {bundle.graph.name}.",
                f"Build one: {wanted.build_command()}",
            )
        return opened


TENSORRT = PlanOpener("tensorrt")
"""Data-centre TensorRT, 10.12 and later."""
TENSORRT_RTX = PlanOpener("tensorrt-rtx")
"""TensorRT-RTX."""


def build_missing(wanted: Wanted, library: Any) -> PlanFile:
    """Builds the plan that nobody built before, for this GPU and the default shapes, into the user's cache.

    Raises:
        ExportError, EngineError: see `nafnet_deploy.engines.build.cached_plan`.
    """
    _log.warning("building a %s plan for %s, once", flavour(wanted.target).title, wanted.gpu.name)
    recipe = BuildRecipe(target=wanted.target, gpus=wanted.gpus, iterations=wanted.iterations)
    return cached_plan(wanted.bundle, recipe, library).file


def usable_gpu(target: str) -> LocalGpu:
    """This machine's GPU.

    Raises:
        MachineError: there is none, or its driver is too old for the library of that target.
    """
    gpu = local_gpu()
    if gpu is None:
        raise no_gpu()
    needed = cuda_of_wheel(target)
    if needed and int(gpu.cuda.split(".")[0]) < int(needed):
        raise driver_too_old(gpu.cuda, f"{flavour(target).package} for CUDA {needed}")
    return gpu


def _names(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> list[set[tuple[str, str]]]:
    return [{(spec.name, spec.dtype) for spec in specs} for specs in (inputs, outputs)]
