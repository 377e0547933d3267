"""Everything that decides what a restorer computes, as data: another process or machine can open the same one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.plan_choice import iterations_of
from nafnet_deploy.engines.registry import open_anytime, open_engine
from nafnet_deploy.engines.stopping import Budget
from nafnet_deploy.errors import UsageError
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.runtime.anytime import Wish, rule_for
from nafnet_deploy.runtime.restorer import Restorer

_CONTRACT = ("sha256", "default_iterations", "padding", "value_range", "tile_overlap", "tile_least")
"""Fields of a manifest that decide what a picture becomes."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """How to open a restorer."""

    bundle: Bundle
    """The graph and its manifest, already checked against each other."""
    engine: str = "auto"
    """An engine's name, `auto`, or the path of a plan."""
    wish: Wish = dataclasses.field(default_factory=Wish)
    """How long to think."""
    in_steps: bool = False
    """Open a split bundle's steps even where a fixed number of iterations is asked."""
    tile: str | int = "auto"
    """See `Restorer`."""
    overlap: int | None = None
    """See `Restorer`."""
    ensemble: bool = False
    """See `Restorer`."""
    limit: int | None = None
    """See `Restorer`."""
    threads: int | None = None
    """CPU threads; None leaves the choice to the engine."""
    trust: bool = False
    """Load a plan without asking whose it is."""

    @property
    def iterations(self) -> int:
        """What an unrolled graph computes."""
        return self.wish.iters or iterations_of(self.engine) or self.bundle.manifest.default_iterations

    @contextmanager
    def open(self, note: Callable[[str], None] | None = None) -> Iterator[Restorer]:
        """A restorer around a newly opened engine, closed at the end of the block.

        Args:
            note: told what `auto` passed over.

        Raises:
            ConfigError, EngineError, MachineError, CheckpointError: as `open_engine` and `Restorer`.
        """
        manifest, wish = self.bundle.manifest, self.wish
        opened: Engine
        if manifest.parts or wish.adaptive or wish.best_effort or self.in_steps:
            if self.trust:
                raise UsageError("what runs in steps is always checked.", "Leave --trust-engine out.")
            budget = None if wish.budget_ms is None else Budget(wish.budget_ms / 1e3, wish.best_effort)
            opened = open_anytime(self.engine, self.bundle, rule_for(wish, manifest), budget, self.threads, note)
        else:
            opened = open_engine(self.engine, self.bundle, self.iterations, self.threads, self.trust, note)
        with opened:
            yield Restorer(opened, manifest, self.tile, self.overlap, ensemble=self.ensemble, limit=self.limit)

    def fingerprint(self, **more: Any) -> str:
        """16 hexadecimal digits that differ where results may differ: the graphs, the options, and `more` of them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("bundle", "threads", "trust", "limit"):  # what changes no pixel, but for rounding
            del fields[name]
        manifest = self.bundle.manifest
        contract = {name: getattr(manifest, name) for name in _CONTRACT}
        if self.wish.adaptive:  # what `calibrate` found decides how long is thought
            contract["stopping"] = None if manifest.stopping is None else dataclasses.asdict(manifest.stopping)
        fields |= {"manifest": contract, "wish": dataclasses.asdict(self.wish), **more}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
