"""An engine that decides, while it runs, how many reasoning iterations a picture gets."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, SizeLimits, Tensors
from nafnet_deploy.engines.stopping import Budget, Clock, StopRule
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import HEAD, STEP, TAIL, ModelManifest, TensorSpec

WARM_UP = 3
"""Untimed and timed rounds, each, before a budget can be kept at a shape that is new."""


class Stepper(Protocol):
    """The three parts of a split bundle, loaded; holds the pictures that are being worked on.

    Every method raises `EngineError` when the engine fails.
    """

    name: str
    """Engine and device as they really are, e.g. `onnxruntime cpu`."""

    def begin(self, batch: NDArray[Any]) -> None:
        """Runs the head on [B, C, H, W] and sets the state to zero."""

    def step(self) -> NDArray[np.float32]:
        """One iteration. Returns how much it changed each state: [B], root mean square."""

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        """The restored pictures of some rows: from the present state, or from the one before the last step."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all pictures but these rows."""

    def close(self) -> None:
        """Frees what it holds; calling it twice is harmless."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one picture (or tile) got."""

    iterations: int
    """Iterations in the result."""
    change: float
    """Estimated change of the picture by the last of them (root mean square, black to white is 1)."""
    fault: str = ""
    """Why it stopped early against the rule; empty when it did not."""


@dataclasses.dataclass(frozen=True)
class Glimpse:
    """The state of the work after one iteration."""

    iteration: int
    """Iterations done."""
    picture: NDArray[Any]
    """[B, C, H, W] after them."""
    delta: NDArray[np.float32]
    """Change of each state by the last one (root mean square)."""
    change: NDArray[np.float64]
    """Estimated change of each picture by the last one (root mean square, black to white is 1)."""


class AnytimeEngine(Closing):
    """A split bundle that stops by a rule. Satisfies the `Engine` protocol.

    Args:
        stepper: its parts; closed with this engine.
        manifest: its contract.
        rule: when a picture has had enough iterations.
        budget: time that a picture may take; None for any.
    """

    def __init__(self, stepper: Stepper, manifest: ModelManifest, rule: StopRule, budget: Budget | None = None) -> None:
        self.rule, self.budget = rule, budget
        self.name = stepper.name
        """Engine and device."""
        self.inputs: tuple[TensorSpec, ...] = manifest.inputs
        """What `run` must be given."""
        self.outputs: tuple[TensorSpec, ...] = manifest.outputs
        """What `run` returns."""
        self.size_limits: SizeLimits | None = getattr(stepper, "size_limits", None)
        """Heights and widths that it was built for; None where it takes any."""
        self.outcomes: list[Outcome] = []
        """What each row of each run got since `announce`."""
        self.counts: Counter[int] = Counter()
        """How often each number of iterations ran since the engine was opened."""
        self._stepper: Stepper | None = stepper
        self._clock = Clock()
        self._feasible: set[tuple[tuple[int, ...], int]] = set()

    @property
    def stepper(self) -> Stepper:
        """The parts, to be run one by one.

        Raises:
            EngineError: the engine is closed.
        """
        if self._stepper is None:
            raise EngineError("the engine is closed.", "Open it again.")
        return self._stepper

    def announce(self, runs: int) -> None:
        """A new picture begins, and it takes so many runs: its tiles."""
        self.outcomes = []
        if self.budget is not None:
            self.budget.runs_left, self.budget.spent = runs, 0.0

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass with as many iterations as the rule and the budget give; see `Engine.run`.

        A state that stops being finite ends the picture's iterations: the result is the last finite one and its
        outcome says so.

        Raises:
            ConfigError: the budget does not suffice for one iteration.
            EngineError: closed, wrong inputs, or no finite state at all.
        """
        stepper, batch = self._open(feeds)
        if self.budget is not None:
            self._demand_budget(stepper, batch)
        began = time.perf_counter()
        outcomes: list[Outcome | None] = [None] * len(batch)
        result: NDArray[Any] | None = None
        rows = np.arange(len(batch))
        fixed = isinstance(self.inputs[0].shape[0], int)  # parts of a fixed batch cannot drop rows: they run on
        self._timed(HEAD, batch.shape, stepper.begin, batch)
        n = 0
        while len(rows):
            held = rows if fixed else np.arange(len(rows))
            delta = self._timed(STEP, batch.shape, stepper.step)[held]
            n += 1
            lost = ~np.isfinite(delta)
            if lost.any() and n == 1:
                raise EngineError(
                    f"{self.name}: the state is not finite after the first iteration.",
                    "Nothing was written. Check the bundle with: nafdeploy parity",
                )
            done = self.rule.done(n, delta) | lost | self._out_of_time(n, began, batch.shape)
            for previous, finished in ((False, done & ~lost), (True, lost)):
                if not finished.any():
                    continue
                local = np.flatnonzero(finished)
                wanted = held[local]
                if fixed:
                    pictures = self._timed(TAIL, batch.shape, stepper.picture, range(len(batch)), previous)[wanted]
                else:
                    pictures = self._timed(TAIL, batch.shape, stepper.picture, wanted.tolist(), previous)
                if len(local) == len(batch):
                    result = pictures
                else:
                    if result is None:
                        result = np.empty((len(batch), *pictures.shape[1:]), pictures.dtype)
                    result[rows[local]] = pictures
                for i in local:
                    fault = f"the state was not finite after iteration {n}" if previous else ""
                    change = float("nan") if previous else float(self.rule.change(delta[i : i + 1])[0])
                    outcomes[rows[i]] = Outcome(n - previous, change, fault)
            rows = rows[~done]
            if len(rows) and done.any() and not fixed:
                stepper.keep(np.flatnonzero(~done).tolist())
        self.outcomes.extend(outcome for outcome in outcomes if outcome is not None)
        self.counts.update(outcome.iterations for outcome in outcomes if outcome is not None)
        if self.budget is not None:
            self.budget.spent += time.perf_counter() - began
            self.budget.runs_left -= 1
        assert result is not None
        return {self.outputs[0].name: result}

    def iterate(self, feeds: Tensors) -> Iterator[Glimpse]:
        """The picture after every iteration, as it comes, up to the rule's largest number; thresholds do not count.

        Raises:
            EngineError: closed, wrong inputs, or a state that is not finite.
        """
        stepper, batch = self._open(feeds)
        stepper.begin(batch)
        for n in range(1, self.rule.max_iterations + 1):
            delta = stepper.step()
            if not np.isfinite(delta).all():
                raise EngineError(
                    f"{self.name}: the state is not finite after iteration {n}.",
                    "The pictures before it are good. Check the bundle with: nafdeploy parity",
                )
            yield Glimpse(n, stepper.picture(range(len(batch))), delta, self.rule.change(delta))

    def close(self) -> None:
        """Frees the parts; calling it twice is harmless."""
        if self._stepper is not None:
            self._stepper.close()
        self._stepper = None

    def _open(self, feeds: Tensors) -> tuple[Stepper, NDArray[Any]]:
        stepper, name = self.stepper, self.inputs[0].name
        if feeds.keys() != {name}:
            raise EngineError(f"the inputs {sorted(feeds)} were given, the bundle takes [{name!r}].")
        return stepper, feeds[name]

    def _timed(self, part: str, shape: tuple[int, ...], function: Any, *arguments: Any) -> Any:
        before = time.perf_counter()
        result = function(*arguments)
        if self.budget is not None:
            self._clock.record(part, shape, time.perf_counter() - before)
        return result

    def _out_of_time(self, n: int, began: float, shape: tuple[int, ...]) -> bool:
        """Whether another iteration and the tail would end after the tile's share of the budget."""
        if self.budget is None:
            return False
        needed = self._clock.forecast(STEP, shape) + self._clock.forecast(TAIL, shape)
        return time.perf_counter() - began + needed > self.budget.share

    def _demand_budget(self, stepper: Stepper, batch: NDArray[Any]) -> None:
        """Measures a shape that is new, and refuses a budget that one iteration of every tile would typically break.

        Asked once for a shape and number of tiles: a machine that turns slow later must not fail half of a folder.
        Shapes that come in the middle of a picture (its turned views) are measured and no longer refused.
        """
        assert self.budget is not None
        shape = batch.shape
        if not self._clock.knows((HEAD, STEP, TAIL), shape):
            for timed in (False, True):
                for _ in range(WARM_UP):
                    take = self._timed if timed else (lambda part, shape, function, *given: function(*given))
                    take(HEAD, shape, stepper.begin, batch)
                    take(STEP, shape, stepper.step)
                    take(TAIL, shape, stepper.picture, range(len(batch)))
        if self.budget.spent or (shape, self.budget.runs_left) in self._feasible:
            return
        least = sum(self._clock.forecast(part, shape, 0.5) for part in (HEAD, STEP, TAIL)) * self.budget.runs_left
        if least > self.budget.seconds and not self.budget.best_effort:
            raise ConfigError(
                f"--budget-ms {self.budget.seconds * 1e3:g} is below what one iteration of this picture takes here, "
                f"{least * 1e3:.0f} ms.",
                f"Use --budget-ms {least * 1.1e3:.0f} or more, or --best-effort to run one iteration anyway.",
            )
        self._feasible.add((shape, self.budget.runs_left))
