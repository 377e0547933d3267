"""Lets threads share one engine: inputs of equal shape that come within a few ms go through it as one batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, Engine, Tensors, check_feeds, size_limits
from nafnet_deploy.errors import EngineError


class _Ticket:
    """One input on its way."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.done = threading.Event()
        self.result: NDArray[Any] | None = None
        self.error: Exception | None = None


class BatchingEngine(Closing):
    """Wraps an engine with one input and one output. Satisfies the `Engine` protocol; `run` is safe in any thread.

    Args:
        engine: closed with this one. A graph of a fixed batch is run as it is called, one call at a time.
        most: largest batch.
        wait_s: how long the first of a batch waits for others (s).
        limit: largest batch for an input [B, C, H, W] of that shape, e.g. for memory's sake.
        device: held while a network runs; engines that share a machine share it.
        on_batch: told the size of every batch.
    """

    def __init__(
        self,
        engine: Engine,
        most: int,
        wait_s: float,
        limit: Callable[[tuple[int, ...]], int],
        device: threading.Lock,
        on_batch: Callable[[int], None],
    ) -> None:
        self.name = engine.name
        """Engine and device."""
        self.inputs, self.outputs = engine.inputs, engine.outputs
        """What `run` takes and gives."""
        self.size_limits = size_limits(engine)
        """The sizes it takes; None for any."""
        self._engine, self._wait, self._limit, self._device, self._on_batch = engine, wait_s, limit, device, on_batch
        self._most = 1 if isinstance(engine.inputs[0].shape[0], int) else most
        self._waiting: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass, perhaps together with those of other threads; see `Engine.run`.

        Raises:
            EngineError: the engine is closed, the input does not fit, or the engine failed on it.
        """
        check_feeds(self.inputs, feeds)
        ticket = _Ticket(feeds[self.inputs[0].name])
        with self._changed:
            if self._closed:
                raise EngineError("the engine is closed.", "Open it again.")
            self._waiting.append(ticket)
            self._changed.notify_all()
        ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.result is not None
        return {self.outputs[0].name: ticket.result}

    def close(self) -> None:
        """Finishes what waits, then frees the engine; calling it twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._engine.close()

    def _work(self) -> None:
        while batch := self._gather():
            try:
                self._together(batch)
            except Exception:  # one input may be at fault, or all of them too much: each gets its own chance and error
                for ticket in batch:
                    try:
                        self._together([ticket])
                    except Exception as error:
                        ticket.error = error
            for ticket in batch:
                ticket.done.set()

    def _gather(self) -> list[_Ticket]:
        """The next batch, as soon as it is full or its first input has waited enough; empty when all is over."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            shape = self._waiting[0].array.shape
            most = max(1, min(self._most, self._limit(shape)) // shape[0])
            deadline = time.monotonic() + self._wait
            while (rest := deadline - time.monotonic()) > 0 and not self._closed:
                if sum(ticket.array.shape == shape for ticket in self._waiting) >= most:
                    break
                self._changed.wait(rest)
            batch = [ticket for ticket in self._waiting if ticket.array.shape == shape][:most]
            self._waiting = deque(ticket for ticket in self._waiting if ticket not in batch)
            return batch

    def _together(self, batch: list[_Ticket]) -> None:
        array = batch[0].array if len(batch) == 1 else np.concatenate([ticket.array for ticket in batch])
        with self._device:
            result = self._engine.run({self.inputs[0].name: array})[self.outputs[0].name]
        self._on_batch(len(array))
        rows = batch[0].array.shape[0]
        for i, ticket in enumerate(batch):
            ticket.result = result[i * rows : (i + 1) * rows]
