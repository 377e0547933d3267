"""Opens the engine that a wish asks for: the one way from a bundle to something that runs."""

from __future__ import annotations

from collections.abc import Callable

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.plan_choice import iterations_of
from nafnet_deploy.engines.registry import open_anytime, open_engine
from nafnet_deploy.engines.stopping import Budget
from nafnet_deploy.manifest import Bundle, ModelManifest
from nafnet_deploy.runtime.anytime import Wish, rule_for


def fixed_iterations(wish: Wish, engine: str, manifest: ModelManifest) -> int:
    """Iterations of a wish that leaves nothing to the picture: those asked for, the plan's, or the model's own."""
    return wish.iters or iterations_of(engine) or manifest.default_iterations


def open_wish(
    bundle: Bundle,
    wish: Wish,
    engine: str = "auto",
    threads: int | None = None,
    trust: bool = False,
    note: Callable[[str], None] | None = None,
    steps: bool = False,
) -> Engine:
    """Opens a bundle so that it thinks as long as wished.

    Args:
        bundle: what `open_bundle` returned.
        wish: how long to think; what adapts to the picture needs a split bundle.
        engine: a name of `engines.registry.ENGINES`, `auto`, or the path of a plan.
        threads: CPU threads; None leaves the choice to the engine.
        trust: load a plan given by path without checking whose it is.
        note: told in one line each what `auto` tried and passed over.
        steps: the engine must give the picture of every iteration.

    Raises:
        ConfigError, MissingDependency, MachineError, CheckpointError, EngineError: see `rule_for`, `open_engine` and
            `open_anytime`.
    """
    if bundle.manifest.parts or wish.adaptive or wish.best_effort or steps:
        rule = rule_for(wish, bundle.manifest)
        budget = None if wish.budget_ms is None else Budget(wish.budget_ms / 1e3, wish.best_effort)
        return open_anytime(engine, bundle, rule, budget, threads)
    n = fixed_iterations(wish, engine, bundle.manifest)
    return open_engine(engine, bundle, n, threads, trust, note)
