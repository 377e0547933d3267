"""A folder on a Ray cluster: Ray Data hands out batches, replaces lost actors and repeats what they had begun."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pickle
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from nafnet_deploy.errors import MachineError, MissingDependency, NafdeployError, UsageError
from nafnet_deploy.runtime.batch.jobs import Done, Encoding, Job, OnEngine
from nafnet_deploy.runtime.batch.run import FolderResult, OnDone, restore_folder
from nafnet_deploy.runtime.batch.storage import FolderPlan
from nafnet_deploy.runtime.cluster.actor import Restoring, Shipment
from nafnet_deploy.runtime.cluster.remote import Place, Remote, open_place
from nafnet_deploy.runtime.memory import shared_limit
from nafnet_deploy.runtime.opening import Opening

BATCH = 4
"""Pictures that an actor gets at a time; so many are done again when its machine is lost."""
_BLOCKS = 2000
"""Ray Data keeps books on each block."""


@dataclasses.dataclass(frozen=True)
class ClusterPlan:
    """Which pictures are restored where."""

    address: str
    """Of the cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; `local` starts one on this machine."""
    folder: str
    """Path or URL of the inputs; a path must be reached by all machines."""
    out: str
    """Path or URL of the results, likewise."""
    recursive: bool = False
    """See `FolderPlan`; so are the next three."""
    pattern: str | None = None
    skip_existing: bool = False
    encoding: Encoding = dataclasses.field(default_factory=Encoding)
    workers: int | None = None
    """Actors with one engine each; None for as many as the cluster has room for."""


def restore_on_cluster(
    plan: ClusterPlan, opening: Opening, on_done: OnDone | None = None, note: Callable[[str], None] | None = None
) -> FolderResult:
    """Restores a folder as `restore_folder` does, with the same journal, on the machines of a Ray cluster.

    Every picture gets its result once: when a machine is lost, the batches that it had are repeated elsewhere, and what
    comes twice is dropped. Each actor takes `opening.threads` cores, 1 when not given, and its
    share of `opening.limit`, which is what the run may take of each machine.

    Raises:
        UsageError: an unknown scheme, and whatever `restore_folder` refuses.
        MachineError: no cluster at that address, or a scheme whose package is missing.
        MissingDependency: Ray is not installed.
        NafdeployError: an actor cannot open its engine.
    """
    if opening.engine.endswith(".engine"):
        raise UsageError("a plan belongs to one machine.", "Use --engine tensorrt or another name with --cluster.")
    source, out = open_place(plan.folder), open_place(plan.out)
    shared = source.local and out.local
    folders = FolderPlan(
        source.path, out.path, plan.recursive, plan.pattern, plan.skip_existing, plan.encoding, plan.workers or 1
    )

    def executor(jobs: list[Job], heard: OnEngine) -> Generator[Done, None, None]:
        places = (None, None) if shared else (source, out)
        return _on_ray(plan, opening, places, jobs, heard)

    return restore_folder(folders, opening, on_done, executor, None if shared else Remote(source, out), note)


def _on_ray(
    plan: ClusterPlan,
    opening: Opening,
    places: tuple[Place | None, Place | None],
    jobs: list[Job],
    heard: OnEngine,
) -> Generator[Done, None, None]:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency(error.name or "ray", "cluster", "for --cluster") from error
    cores = opening.threads or 1
    pending = {job.number: job for job in jobs}
    with contextlib.redirect_stdout(sys.stderr):  # Ray tells of lost machines on stdout
        _connect(plan.address)
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            room = max(int(resources.get("CPU", 1)) // cores, 1)
            rows = [{"job": pickle.dumps(job)} for job in jobs]
            blocks = min(-(-len(rows) // BATCH), _BLOCKS)
            actors = min(plan.workers or room, blocks)
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            limit = shared_limit(opening.limit, min(actors, most_on_one(nodes, cores)))
            shipment = Shipment.of(dataclasses.replace(opening, threads=cores, limit=limit))
            results = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
                Restoring,
                fn_constructor_args=(shipment, *places, plan.encoding.quality),
                batch_size=BATCH,
                # a range: actors that could not come back on a lost machine must not be waited for
                concurrency=(1, actors),
                num_cpus=cores,
            )
            for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
                for content in batch["result"]:
                    message = pickle.loads(content)
                    if isinstance(message, NafdeployError):
                        raise message
                    engine, notes, done = message
                    heard(engine, notes)
                    if pending.pop(done.job.number, None) is not None:
                        yield done
        finally:
            ray.shutdown()


def most_on_one(nodes: Iterable[Mapping[str, Any]], cores: int) -> int:
    """How many actors of so many cores one machine may get; `nodes` are those of `ray.nodes()`."""
    return max((int(node["Resources"].get("CPU", 0)) // cores for node in nodes if node["Alive"]), default=1)


def _connect(address: str) -> None:
    import ray

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MachineError(
            f"no Ray cluster answers at {address!r}: {reason}.",
            "Start one with: ray start --head, or use --cluster local.",
        ) from error
