"""Turns what a user asks of a split bundle into a stopping rule, and what came of it into words."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from nafnet_deploy.engines.anytime import Outcome
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.manifest import ModelManifest, Stopping
from nafnet_deploy.tables import nearest

QUALITIES = ("fast", "balanced", "best")
"""Words of `--quality`, from the shortest to the longest thought."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """How long a split bundle shall think; everything empty is the model's own number of iterations."""

    iters: int | None = None
    """Exactly so many iterations."""
    max_iters: int | None = None
    """At most so many; None for as many as were proved, or calibrated for `quality`."""
    until_delta: float | None = None
    """Stop when an iteration changes the picture by less (root mean square, black to white is 1)."""
    budget_ms: float | None = None
    """Milliseconds for the network per picture."""
    best_effort: bool = False
    """Run one iteration even where the budget does not suffice for it."""
    quality: str | None = None
    """A threshold that was calibrated: one of `QUALITIES`."""

    @property
    def adaptive(self) -> bool:
        """Whether anything but a fixed number of iterations is asked."""
        return any(v is not None for v in (self.max_iters, self.until_delta, self.budget_ms, self.quality))


def rule_for(wish: Wish, manifest: ModelManifest) -> StopRule:
    """The stopping rule of a wish.

    Raises:
        ConfigError: wishes that exclude each other, or a quality that was never calibrated.
    """
    if wish.iters is not None and wish.adaptive:
        raise ConfigError("--iters asks for a fixed number of iterations.", "Use --max-iters for a limit.")
    if wish.quality is not None and wish.until_delta is not None:
        raise ConfigError("--quality and --until-delta both set a threshold.", "Leave one out.")
    if wish.best_effort and wish.budget_ms is None:
        raise ConfigError("--best-effort belongs to --budget-ms.", "Add one, or leave it out.")
    stopping = manifest.stopping or Stopping(1.0)
    if not wish.adaptive:
        return StopRule(manifest.default_iterations if wish.iters is None else wish.iters, stopping=stopping)
    calibrated = None if wish.quality is None else stopping.iterations
    most = next(n for n in (wish.max_iters, calibrated, manifest.iterations) if n is not None)
    if wish.quality is None:
        return StopRule(most, wish.until_delta, stopping=stopping)
    if wish.quality not in QUALITIES:
        raise ConfigError(f"--quality {wish.quality} is unknown.", nearest(wish.quality, QUALITIES))
    if manifest.parts and not stopping.quality:  # without steps it can be neither calibrated nor stopped
        raise ConfigError(
            f"{manifest.name} has not been calibrated for --quality.", "Do it with: nafdeploy calibrate DIR -m BUNDLE"
        )
    return StopRule(most, stopping.quality.get(wish.quality), stopping=stopping)


def counted(counts: Counter[int]) -> str:
    """Numbers of iterations and how often each ran, in a few words."""
    if not counts:
        return "nothing ran"
    span = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(min(counts))
    total = counts.total()
    mean = sum(n * times for n, times in counts.items()) / total
    return f"N = {span}" + (f", mean {mean:.1f} over {total} runs" if total > 1 else "")


def summary(outcomes: Sequence[Outcome], most: int, until_delta: float | None) -> str:
    """How many iterations ran and what the last one changed, in a few words.

    Args:
        outcomes: what each row got.
        most: iterations after which it stopped in any case.
        until_delta: the threshold that the user gave; None for none.
    """
    counts = Counter(outcome.iterations for outcome in outcomes)
    changes = [outcome.change for outcome in outcomes if math.isfinite(outcome.change)]
    words = counted(counts)
    if changes:
        words += f"; the last iteration changed the picture by {max(changes):.1e}"
        words += " at most" if len(changes) > 1 else ""
    if until_delta is not None and max(changes, default=0) >= until_delta and max(counts) >= most:
        words += f", more than the {until_delta:g} asked for: raise --max-iters"
    return words
