"""Head, step and tail of a split bundle, run one after the other by any engine."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import DELTA, FEATURES, HEAD, STATE, STATE_NEXT, STEP, TAIL, ModelManifest

V = TypeVar("V")


class PartStepper(abc.ABC, Generic[V]):
    """The order of the parts and what is held between them; satisfies the `Stepper` protocol.

    `V` is a tensor where the engine keeps it: outputs of one part go into the next as they are, so a feature map is
    copied only when pictures are dropped from a batch, and on a GPU none leaves it.
    """

    name: str
    """Engine and device."""

    def __init__(self, manifest: ModelManifest) -> None:
        self._input = manifest.inputs[0].name
        self._parts = manifest.parts
        self._held: dict[str, V] = {}
        self._before: V | None = None

    def begin(self, batch: NDArray[Any]) -> None:
        """Runs the head; see `Stepper`."""
        picture = self._put(np.ascontiguousarray(batch))
        self._held = {self._input: picture, **self._run(HEAD, {self._input: picture})}
        dtype = next(spec.dtype for spec in self._parts[STEP].inputs if spec.name == STATE)
        self._held[STATE] = self._put(np.zeros(self._shape(self._held[FEATURES]), np.dtype(dtype)))
        self._before = None

    def step(self) -> NDArray[np.float32]:
        """One iteration; see `Stepper`."""
        self._demand_picture()
        made = self._run(STEP, {spec.name: self._held[spec.name] for spec in self._parts[STEP].inputs})
        self._before, self._held[STATE] = self._held[STATE], made[STATE_NEXT]
        return np.asarray(self._get(made[DELTA]), np.float32)

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        """The restored pictures of some rows; see `Stepper`."""
        self._demand_picture()
        held = dict(self._held)
        if previous and self._before is not None:
            held[STATE] = self._before
        made = self._run(TAIL, {s.name: self._rows(held[s.name], rows) for s in self._parts[TAIL].inputs})
        return self._get(made[self._parts[TAIL].outputs[0].name])

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows; see `Stepper`."""
        self._held = {name: self._rows(value, rows) for name, value in self._held.items()}
        self._before = None if self._before is None else self._rows(self._before, rows)

    def close(self) -> None:
        """Lets go of the pictures; calling it twice is harmless."""
        self._held, self._before = {}, None

    @abc.abstractmethod
    def _run(self, part: str, feeds: dict[str, V]) -> dict[str, V]:
        """Runs one graph."""

    @abc.abstractmethod
    def _put(self, array: NDArray[Any]) -> V:
        """An array as a tensor of the engine."""

    @abc.abstractmethod
    def _get(self, value: V) -> NDArray[Any]:
        """A tensor of the engine as an array."""

    @abc.abstractmethod
    def _shape(self, value: V) -> tuple[int, ...]:
        """The shape of a tensor of the engine."""

    def _rows(self, value: V, rows: Sequence[int]) -> V:
        if list(rows) == list(range(self._shape(value)[0])):
            return value
        return self._put(np.ascontiguousarray(self._get(value)[list(rows)]))

    def _demand_picture(self) -> None:
        if STATE not in self._held:
            raise EngineError("no picture has been begun.", "Call begin first.")


class ArrayParts(PartStepper[NDArray[Any]]):
    """The parts as any three engines, with NumPy arrays between them.

    Args:
        manifest: the contract of the bundle.
        engines: an engine per part; closed with this object.
    """

    def __init__(self, manifest: ModelManifest, engines: dict[str, Engine]) -> None:
        super().__init__(manifest)
        self._engines = engines
        self.name = engines[HEAD].name
        """Engine and device."""

    def close(self) -> None:
        """Closes the engines; calling it twice is harmless."""
        super().close()
        for engine in self._engines.values():
            engine.close()

    def _run(self, part: str, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._engines[part].run(feeds)

    def _put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def _get(self, value: NDArray[Any]) -> NDArray[Any]:
        return value

    def _shape(self, value: NDArray[Any]) -> tuple[int, ...]:
        return value.shape
