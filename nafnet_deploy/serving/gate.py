"""Bounds the pixels that are decoded at a time, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class PixelGate:
    """Lets pictures into memory as long as their pixels stay within a budget.

    Args:
        budget: pixels at a time; a picture that is larger on its own waits until it is alone.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._inside = budget, 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def let_in(self, pixels: int) -> Iterator[None]:
        """Waits for room, in the order of arrival, so that small pictures do not keep a large one out for ever."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(
                lambda: self._line[0] is ticket and (not self._inside or self._inside + pixels <= self._budget)
            )
            self._line.popleft()
            self._inside += pixels
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= pixels
                self._changed.notify_all()
