"""The plans of a split bundle on disk: `X.head.engine`, `X.step.engine`, `X.tail.engine`, and one sidecar `X.json`."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from nafnet_deploy.engines.plan import PLAN_SCHEMA, PLAN_SUFFIX, Plan, PlanManifest
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, ExportError
from nafnet_deploy.manifest import HEAD, STEP, TAIL, ModelManifest, sha256_of
from nafnet_deploy.tables import plain, read_table

ANY = 0
"""Stands for the iterations of plans that run any number of them."""


@dataclasses.dataclass(frozen=True)
class PartsManifest:
    """What the plans of a split bundle are, what they were made from, and where they run."""

    model: ModelManifest
    """The contract of the split bundle."""
    plans: dict[str, PlanManifest]
    """Each part's plan, as for a plan of its own; its `model` is the contract of that part alone."""
    graph_sha256: str
    """What identifies the bundle's graphs: `ModelManifest.graph_sha256`."""
    key: str
    """Hash of all that decides the plans: graphs, library and version, GPUs, shapes, limits."""
    schema: int = PLAN_SCHEMA
    """Version of this format."""

    def __post_init__(self) -> None:
        if self.schema != PLAN_SCHEMA:
            raise ConfigError(
                f"the plans' manifest has format {self.schema}, this program reads {PLAN_SCHEMA}.",
                "Build the plans again: nafdeploy build",
            )

    @property
    def iterations(self) -> int:
        """`ANY`."""
        return ANY

    @property
    def target(self) -> str:
        """Library: `tensorrt` or `tensorrt-rtx`."""
        return self.plans[HEAD].target

    @property
    def version(self) -> str:
        """Version of the library that built them."""
        return self.plans[HEAD].version

    @property
    def gpus(self) -> tuple[str, ...]:
        """Compute capabilities they were built for; empty for portable ones."""
        return self.plans[HEAD].gpus

    @property
    def date(self) -> str:
        """UTC time of the last build, ISO 8601."""
        return max(plan.date for plan in self.plans.values())

    def to_json(self) -> str:
        """The text of the sidecar file."""
        return json.dumps(plain(self), indent=1, sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True)
class PartsFile:
    """Plans on disk whose hashes their manifest vouches for."""

    path: Path
    """The sidecar."""
    manifest: PartsManifest
    """What it says."""

    def plan(self, part: str) -> Path:
        """The plan of a part."""
        return plan_of(self.path, part)


def plan_of(sidecar: Path, part: str) -> Path:
    """`X.json`, step -> `X.step.engine`."""
    return sidecar.with_name(f"{sidecar.name.removesuffix('.json')}.{part}{PLAN_SUFFIX}")


def parts_sidecar(plan: Path) -> Path:
    """The sidecar of the plans to which a file belongs: `X.step.engine` or `X.engine` -> `X.json`."""
    stem = plan.name.removesuffix(PLAN_SUFFIX)
    for part in (HEAD, STEP, TAIL):
        stem = stem.removesuffix(f".{part}")
    return plan.with_name(f"{stem}.json")


def write_parts(plans: Mapping[str, Plan], model: ModelManifest, key: str, sidecar: Path) -> PartsFile:
    """Writes three plans and their sidecar, all or none; whatever fails leaves the old files as they were.

    Raises:
        ExportError: the disk is full or the folder cannot be written.
    """
    manifest = PartsManifest(model, {n: p.manifest for n, p in plans.items()}, model.graph_sha256, key)
    try:
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=sidecar.parent) as folder:
            draft = Path(folder) / sidecar.name
            draft.write_text(manifest.to_json(), encoding="utf-8")
            for part, plan in plans.items():
                plan_of(draft, part).write_bytes(plan.data)
            for part in plans:  # a build that ends between these leaves hashes that do not fit: it is built anew
                plan_of(draft, part).replace(plan_of(sidecar, part))
            draft.replace(sidecar)
    except OSError as error:
        size = sum(len(plan.data) for plan in plans.values())
        raise ExportError(
            f"{sidecar} could not be written: {error.strerror or error}. Nothing was kept.",
            f"The plans take {size / 1e6:.0f} MB: free some space or choose another -o.",
        ) from error
    return PartsFile(sidecar, manifest)


def read_parts_manifest(sidecar: Path) -> PartsManifest:
    """Reads a sidecar; does not look into the plans.

    Raises:
        CheckpointError: it is missing or unreadable.
        ConfigError: it has an unknown or missing key, or another format.
    """
    try:
        table = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{sidecar} is not a readable manifest: {error}.", "Make the plans with: nafdeploy build"
        ) from error
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{sidecar} is not a manifest.", "Build the plans again.")
    return read_table(PartsManifest, table, sidecar.name)


def open_parts(sidecar: Path) -> PartsFile:
    """Reads a sidecar and checks that the plans beside it are the ones it vouches for.

    Plans are executable artefacts (NVIDIA): nothing should load one that this function refused.

    Raises:
        CheckpointError: a plan or the sidecar is missing or unreadable.
        ConfigError: the sidecar has an unknown or missing key, or another format.
        EngineError: a plan's hash is not the manifest's.
    """
    found = PartsFile(sidecar, read_parts_manifest(sidecar))
    for part in (HEAD, STEP, TAIL):
        path = found.plan(part)
        if part not in found.manifest.plans or not path.is_file():
            raise CheckpointError(
                f"{path} does not exist.", "Keep the plans of a bundle together, or build them again."
            )
        if sha256_of(path) != found.manifest.plans[part].plan_sha256:
            raise EngineError(
                f"{path.name} is not the plan its manifest vouches for (the hash differs).",
                "It is damaged or was replaced: build it again with nafdeploy build.",
            )
    return found


def parts_in(folder: Path) -> Iterator[tuple[Path, PartsManifest]]:
    """The sidecars of plans of split bundles in a folder, not yet checked."""
    for head in sorted(folder.glob(f"*.{HEAD}{PLAN_SUFFIX}")):
        try:
            yield parts_sidecar(head), read_parts_manifest(parts_sidecar(head))
        except (CheckpointError, ConfigError):  # plans that say nothing about themselves are nobody's
            continue
