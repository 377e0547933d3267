"""A built plan on disk: `X.engine` and its sidecar `X.json`, which says what was built and vouches for it."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, ExportError
from nafnet_deploy.manifest import ModelManifest, TensorSpec, sha256_of
from nafnet_deploy.tables import plain, read_table

PLAN_SCHEMA = 1
PLAN_SUFFIX = ".engine"


@dataclasses.dataclass(frozen=True)
class ShapeProfile:
    """The sizes of one input that a plan takes."""

    input: str
    """Name of the input."""
    min: tuple[int, ...]
    """Smallest [batch, channels, height, width]."""
    opt: tuple[int, ...]
    """The one the plan is fastest at."""
    max: tuple[int, ...]
    """Largest."""


@dataclasses.dataclass(frozen=True)
class PlanManifest:
    """What a plan is, what it was made from, and where it runs."""

    model: ModelManifest
    """The contract of the bundle it was built from."""
    iterations: int
    """Reasoning iterations in the plan, at most `model.iterations`."""
    target: str
    """Library: `tensorrt` or `tensorrt-rtx`."""
    version: str
    """Version of the library that built it; only that version is sure to load it."""
    cuda: str
    """Major CUDA version of the library; empty when it did not say."""
    gpus: tuple[str, ...]
    """Compute capabilities it was built for; empty for a portable plan."""
    device: str
    """The GPU it was built on, where the library builds only for that one; else empty."""
    inputs: tuple[TensorSpec, ...]
    """Inputs as the library declared them; a word is a free dimension."""
    outputs: tuple[TensorSpec, ...]
    """Outputs as the library declared them."""
    profiles: tuple[ShapeProfile, ...]
    """The sizes it takes, one entry per input; exact for a graph of fixed shape."""
    precision_asked: str
    """Precision of the bundle: `fp32` or `fp16`."""
    precision_built: str
    """Precision of the convolutions and matrix products, read back from the library."""
    layers: dict[str, int]
    """Layers by the type of their output, as the library parsed them (before it fused any)."""
    flags: tuple[str, ...]
    """Build flags that were on."""
    workspace: int | None
    """Bound on scratch memory (MiB); None when there was none."""
    read_from: str
    """Where inputs and outputs were read back: `network` before it was serialised, or `engine`, the loaded plan."""
    activation_bytes: int | None
    """Device memory for activations at the largest shape, as the library stated it; None when it did not."""
    plan_bytes: int
    """Size of the plan."""
    seconds: float
    """Time the library took to build it."""
    date: str
    """UTC time of the build, ISO 8601."""
    warnings: tuple[str, ...]
    """What the library warned of."""
    versions: dict[str, str]
    """Other packages that took part."""
    graph_sha256: str
    """Hash of the bundle's graph."""
    plan_sha256: str
    """Hash of the plan."""
    key: str
    """Hash of all that decides the plan: graph, iterations, library and version, GPUs, shapes, limits."""
    schema: int = PLAN_SCHEMA
    """Version of this format."""

    def __post_init__(self) -> None:
        if self.schema != PLAN_SCHEMA:
            raise ConfigError(
                f"the plan's manifest has format {self.schema}, this program reads {PLAN_SCHEMA}.",
                "Build the plan again: nafdeploy build",
            )

    def to_json(self) -> str:
        """The text of the sidecar file."""
        return json.dumps(plain(self), indent=1, sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A plan in memory, fresh from the builder."""

    data: bytes
    """What the library serialised."""
    manifest: PlanManifest
    """What it is."""


@dataclasses.dataclass(frozen=True)
class PlanFile:
    """A plan on disk whose hash its manifest vouches for."""

    path: Path
    """The `.engine` file."""
    manifest: PlanManifest
    """Its sidecar."""


def sidecar_of(plan: Path) -> Path:
    """`X.engine` -> `X.json`."""
    return plan.with_name(plan.name.removesuffix(PLAN_SUFFIX) + ".json")


def write_plan(plan: Plan, path: Path) -> PlanFile:
    """Writes plan and sidecar, both or neither; whatever fails leaves the old files as they were.

    Raises:
        ExportError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            draft.write_bytes(plan.data)
            sidecar_of(draft).write_text(plan.manifest.to_json(), encoding="utf-8")
            sidecar_of(draft).replace(sidecar_of(path))  # the plan last: it is what others look for
            draft.replace(path)
    except OSError as error:
        raise ExportError(
            f"{path} could not be written: {error.strerror or error}. Nothing was kept.",
            f"It takes {len(plan.data) / 1e6:.0f} MB: free some space or choose another -o.",
        ) from error
    return PlanFile(path, plan.manifest)


def read_plan_manifest(plan: Path) -> PlanManifest:
    """Reads the sidecar of a plan; does not look into the plan.

    Raises:
        CheckpointError: plan or sidecar is missing or unreadable.
        ConfigError: the sidecar has an unknown or missing key, or another format.
    """
    if not plan.is_file():
        raise CheckpointError(f"{plan} does not exist.", "Make it with: nafdeploy build")
    sidecar = sidecar_of(plan)
    try:
        table = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{plan.name} has no manifest {sidecar.name} beside it.", "Keep the two together, or build it again."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{sidecar} is not a readable manifest: {error}.", "Build the plan again.") from error
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{sidecar} is not a manifest.", "Build the plan again.")
    return read_table(PlanManifest, table, sidecar.name)


def open_plan(path: Path) -> PlanFile:
    """Reads the sidecar of a plan and checks that the plan is the one it vouches for.

    Plans are executable artefacts (NVIDIA): nothing should load one that this function refused.

    Raises:
        CheckpointError: plan or sidecar is missing or unreadable.
        ConfigError: the sidecar has an unknown or missing key, or another format.
        EngineError: the plan's hash is not the manifest's.
    """
    manifest = read_plan_manifest(path)
    if sha256_of(path) != manifest.plan_sha256:
        raise EngineError(
            f"{path.name} is not the plan its manifest vouches for (the hash differs).",
            "It is damaged or was replaced: build it again with nafdeploy build.",
        )
    return PlanFile(path, manifest)
