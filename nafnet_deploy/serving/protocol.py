"""HTTP/1.1 that does not wait for ever: deadlines for a request's headers and for a client that does not read."""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """uvicorn's protocol over h11 with the two deadlines that it lacks. Bodies are the guard's business."""

    idle_seconds: ClassVar[float] = 10.0
    """Both deadlines (s)."""
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected: its first request's headers are awaited."""
        super().connection_made(transport)
        self._reading = self.loop.call_later(self.idle_seconds, self._late)

    def data_received(self, data: bytes) -> None:
        """Something came: the headers are complete, or are awaited from now on."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            _stop(self._reading)
            self._reading = None
        elif self._reading is None:
            self._reading = self.loop.call_later(self.idle_seconds, self._late)

    def pause_writing(self) -> None:
        """The client's system takes no more of the response."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        _stop(self._writing)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        _stop(self._reading)
        _stop(self._writing)
        super().connection_lost(exc)

    def _await_reader(self) -> None:
        self._writing = self.loop.call_later(self.idle_seconds, self._unread, _untaken(self.transport))

    def _unread(self, before: int) -> None:
        """Nothing more fitted in since; a client that takes little at a time has left less all the same."""
        if _untaken(self.transport) < before:
            self._await_reader()
        else:
            self.transport.abort()

    def _late(self) -> None:
        self._reading = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def timed_protocol(idle_seconds: float) -> type[TimedProtocol]:
    """The protocol with its deadlines set (s): uvicorn builds it without arguments of ours."""
    return type("TimedProtocol", (TimedProtocol,), {"idle_seconds": idle_seconds})


def _untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that the client's system has not taken: ours, and on Linux those that this system keeps for it."""
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux":
        import fcntl
        import termios

        kept = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += int.from_bytes(kept, sys.byteorder)
    return waiting


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
