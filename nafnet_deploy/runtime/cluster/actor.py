"""What runs on the machines of a cluster: an engine of their own, and pictures brought to it."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nafnet_deploy.errors import ImageError, NafdeployError
from nafnet_deploy.manifest import bundle_file, open_bundle
from nafnet_deploy.runtime.batch.jobs import Done, Job
from nafnet_deploy.runtime.batch.pipeline import restore_jobs
from nafnet_deploy.runtime.cluster.remote import Place
from nafnet_deploy.runtime.opening import Opening
from nafnet_deploy.runtime.restorer import Restorer


@dataclasses.dataclass(frozen=True)
class Shipment:
    """An opening with the files of its bundle, so that another machine needs none of them."""

    opening: Opening
    """How to open; its bundle's paths are those of the sender."""
    files: dict[str, bytes]
    """Content of graphs and manifest by file name."""

    @classmethod
    def of(cls, opening: Opening) -> Shipment:
        """Reads the bundle."""
        paths = [*opening.bundle.graphs.values(), bundle_file(opening.bundle.graph, ".json")]
        return cls(opening, {path.name: path.read_bytes() for path in paths})

    @contextlib.contextmanager
    def open(self, note: Callable[[str], None]) -> Iterator[Restorer]:
        """A restorer on this machine.

        Args:
            note: told what `auto` passed over.

        Raises:
            NafdeployError: as `Opening.open`.
        """
        with tempfile.TemporaryDirectory(prefix="nafdeploy-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            bundle = open_bundle(bundle_file(folder / self.opening.bundle.graph.name, ".json"))
            with dataclasses.replace(self.opening, bundle=bundle).open(note) as restorer:
                yield restorer


class Restoring:
    """One actor; Ray Data gives it batches of jobs.

    Args:
        shipment: what to open, with the first batch: an error while an actor is made is retried for ever.
        source: where the pictures are; None when everything lies on disks that all machines share.
        out: where the results go; None likewise.
        quality: of JPEG and WebP.
    """

    def __init__(self, shipment: Shipment, source: Place | None, out: Place | None, quality: int | None) -> None:
        self._shipment, self._source, self._out, self._quality = shipment, source, out, quality
        self._open = contextlib.ExitStack()
        self._restorer: Restorer | None = None
        self._notes: list[str] = []

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """`job`, pickled, to `result`: a pickled (engine, notes, `Done`), or an error that ends the run."""
        jobs: list[Job] = [pickle.loads(job) for job in batch["job"]]
        try:
            if self._restorer is None:
                self._restorer = self._open.enter_context(self._shipment.open(self._notes.append))
        except NafdeployError as error:
            return {"result": [pickle.dumps(error) for _ in jobs]}
        if self._source is None or self._out is None:
            every: Iterable[Done] = restore_jobs(self._restorer, iter(jobs), self._quality)
        else:
            every = carried(self._restorer, jobs, self._source, self._out, self._quality)
        return {"result": [pickle.dumps((self._restorer.engine.name, self._notes, done)) for done in every]}


def carried(restorer: Restorer, jobs: Iterable[Job], source: Place, out: Place, quality: int | None) -> Iterator[Done]:
    """Restores pictures that must be fetched, and brings the results to where they wait for their names."""
    with tempfile.TemporaryDirectory(prefix="nafdeploy-") as name:
        here = Path(name)
        for job in jobs:
            near = dataclasses.replace(
                job, source=here / job.source.name, part=here / job.part.name, target=here / f"result-{job.target.name}"
            )
            try:
                source.system.get_file(str(job.source), str(near.source))
            except (OSError, ValueError) as error:
                yield Done(job, None, ImageError(f"{job.source} cannot be fetched: {error}.", "Check the URL."))
                continue
            (done,) = restore_jobs(restorer, iter([near]), quality, 0)
            if done.error is not None:
                done.error.message = done.error.message.replace(str(near.source), str(job.source))
            done = dataclasses.replace(done, job=job)
            if done.written is not None:
                try:
                    out.system.put_file(str(near.part), str(job.part))
                except (OSError, ValueError) as error:
                    refused = ImageError(f"{job.target} cannot be written: {error}.", "Check the URL and your rights.")
                    done = dataclasses.replace(done, written=None, error=refused)
            yield done
            for path in (near.source, near.part):
                path.unlink(missing_ok=True)
