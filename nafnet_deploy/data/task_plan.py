"""Which task a training example is taken from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ORDERS = ("together", "sequential", "progressive")


class TaskPlan:
    """Draws pictures so that every task of the moment is seen equally often, however many pictures it has.

    Args:
        tasks: the task of every picture.
        order: `together`: all tasks all the time. `sequential`: one after the other, for equal shares of the run, in
            the order of their first pictures. `progressive`: the same, but each joins those before it.
        length: examples of the whole run.
    """

    def __init__(self, tasks: Sequence[str], order: str, length: int) -> None:
        self.names = tuple(dict.fromkeys(tasks))
        self.order, self.length = order, length
        places: dict[str, list[int]] = {name: [] for name in self.names}
        for place, task in enumerate(tasks):
            places[task].append(place)
        self._pools = tuple(places.values())

    def tasks_at(self, index: int) -> tuple[str, ...]:
        """Names of the tasks that example `index` may be drawn from."""
        return self.names[self._stage(index)]

    def draw(self, index: int, rng: np.random.Generator) -> int:
        """Place of the picture of example `index`."""
        pools = self._pools[self._stage(index)]
        pool = pools[int(rng.integers(len(pools)))] if len(pools) > 1 else pools[0]
        return pool[int(rng.integers(len(pool)))]

    def _stage(self, index: int) -> slice:
        if self.order == "together":
            return slice(None)
        stage = min(index * len(self.names) // self.length, len(self.names) - 1)
        return slice(stage if self.order == "sequential" else 0, stage + 1)
