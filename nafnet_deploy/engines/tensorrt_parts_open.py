"""Opens a split bundle in TensorRT or TensorRT-RTX: finds its plans, checks them against this machine, loads them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.cuda.base import open_cuda
from nafnet_deploy.engines.flavour import flavour, load_library
from nafnet_deploy.engines.plan_choice import Wanted, check_fit, fault_of, plan_folders
from nafnet_deploy.engines.tensorrt_open import usable_gpu
from nafnet_deploy.engines.tensorrt_parts import TensorRTParts
from nafnet_deploy.engines.tensorrt_parts_build import cached_parts
from nafnet_deploy.engines.tensorrt_parts_plan import ANY, PartsFile, PartsManifest, open_parts, parts_in, parts_sidecar
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PartsOpener:
    """The opener of one library of the TensorRT family."""

    target: str
    """`tensorrt` or `tensorrt-rtx`."""

    def open(self, bundle: Bundle, threads: int | None = None, plan: Path | None = None) -> TensorRTParts:
        """Loads the plans of a split bundle on the first GPU.

        Args:
            bundle: what `open_bundle` returned.
            threads: of no meaning on a GPU.
            plan: any of the three plans; None takes the newest ones on this disk that fit, else builds them.

        Raises:
            MissingDependency, MachineError: the library, a package for GPU memory, the driver or a GPU is missing, or
                the driver is too old.
            CheckpointError: a plan or its sidecar is missing or unreadable.
            ExportError: no plans were there and none could be built.
            EngineError: the plans do not fit, or the library refuses them.
        """
        given = None if plan is None else open_parts(parts_sidecar(plan))  # a damaged plan is one on any machine
        library = load_library(self.target)
        gpu = usable_gpu(self.target)
        wanted = Wanted(bundle, self.target, ANY, str(library.__version__), gpu)
        found = given or find_parts(wanted)
        if found is None:
            _log.warning("building %s plans for %s, once", flavour(self.target).title, gpu.name)
            found = cached_parts(bundle, BuildRecipe(target=self.target, gpus=wanted.gpus), library).file
        check_fit(found, wanted)
        try:
            plans = {name: found.plan(name).read_bytes() for name in bundle.manifest.parts}
        except OSError as error:
            raise EngineError(f"{error.filename} cannot be read: {error.strerror}.", "Check the path.") from error
        version = ".".join(wanted.version.split(".")[:2])
        precision = "/".join(sorted({made.precision_built for made in found.manifest.plans.values()}))
        name = f"{self.target} {version} {gpu.capability} {precision}"
        return TensorRTParts(library, open_cuda(), plans, name, bundle.manifest)


TENSORRT = PartsOpener("tensorrt")
"""Data-centre TensorRT, 10.12 and later."""
TENSORRT_RTX = PartsOpener("tensorrt-rtx")
"""TensorRT-RTX."""


def parts_of(bundle: Bundle, target: str) -> Iterator[tuple[Path, PartsManifest]]:
    """The sidecars of the plans built from this bundle for that library, newest first, not yet checked."""
    found = [
        (path, manifest)
        for folder in plan_folders(bundle)
        for path, manifest in parts_in(folder)
        if (manifest.graph_sha256, manifest.target) == (bundle.manifest.graph_sha256, target)
    ]
    yield from sorted(found, key=lambda item: item[1].date, reverse=True)


def find_parts(wanted: Wanted) -> PartsFile | None:
    """The newest plans on this disk that fit, their hashes checked; None when there are none.

    Raises:
        EngineError: one was changed since it was built.
    """
    for path, manifest in parts_of(wanted.bundle, wanted.target):
        if not fault_of(manifest, wanted):
            return open_parts(path)
    return None
