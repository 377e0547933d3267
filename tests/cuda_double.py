"""A GPU in NumPy: satisfies the `Cuda` protocol, keeps account of what is held, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import EngineError


class NumpyCuda:
    """Work runs when it is queued, unless its stream is being recorded.

    Args:
        fails: a method's name -> how often it works before it raises an `EngineError`.
    """

    name = "numpy"

    def __init__(self, **fails: int) -> None:
        self.fails = fails
        self.calls: list[str] = []
        self.held: dict[int, Any] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.closed = False
        self._next = 1 << 40

    def queue(self, work: Callable[[], None]) -> None:
        """What a library does with a stream."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _hold(self, name: str, what: Any) -> int:
        self._count(name)
        self.held[handle := self._next] = what
        self._next += 256 * (1 + (what.nbytes if isinstance(what, np.ndarray) else 0) // 256)  # as blocks of memory lie
        return handle

    def _count(self, name: str) -> None:
        assert not self.closed, f"{name} after close"
        self.calls.append(name)
        if name in self.fails:
            self.fails[name] -= 1
            if self.fails[name] < 0:
                raise EngineError(f"the double fails in {name}.")

    def allocate(self, size: int) -> int:
        assert size > 0
        return self._hold("allocate", np.full(size, 0xAA, np.uint8))

    def free(self, pointer: int) -> None:
        del self.held[pointer]

    def pinned(self, size: int) -> NDArray[np.uint8]:
        self._count("pinned")
        array = np.full(size, 0x55, np.uint8)
        self.held[array.ctypes.data] = array
        return array

    def unpin(self, array: NDArray[np.uint8]) -> None:
        del self.held[array.ctypes.data]

    def memory(self, pointer: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Device memory as an array, for the library's double."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        view: NDArray[Any] = self._at(pointer, size).view(dtype).reshape(shape)
        return view

    def upload(self, pointer: int, source: NDArray[Any], stream: int) -> None:
        self._count("upload")
        assert source.flags.c_contiguous
        assert stream in self.held
        self.held[pointer][: source.nbytes] = source.reshape(-1).view(np.uint8)

    def download(self, target: NDArray[Any], pointer: int, stream: int) -> None:
        self._count("download")
        assert stream in self.held
        target.reshape(-1).view(np.uint8)[:] = self.held[pointer][: target.nbytes]

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self._count("copy")
        assert stream in self.held
        whence, whither = self._at(source, size), self._at(target, size)
        assert not np.shares_memory(whence, whither)
        whither[:] = whence

    def _at(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes at an address that may lie inside a block."""
        start = max(p for p in self.held if p <= address and isinstance(self.held[p], np.ndarray))
        view: NDArray[np.uint8] = self.held[start][address - start : address - start + size]
        assert view.size == size, "beyond the end of a block"
        return view

    def create_stream(self) -> int:
        return self._hold("create_stream", "stream")

    def synchronize(self, stream: int) -> None:
        self._count("synchronize")
        assert self.held[stream] == "stream"

    def destroy_stream(self, stream: int) -> None:
        del self.held[stream]

    def create_event(self) -> int:
        return self._hold("create_event", "event")

    def record(self, event: int, stream: int) -> None:
        self._count("record")
        assert self.held[event] == "event"

    def elapsed_ms(self, start: int, end: int) -> float:
        assert start != end
        return 1.5

    def destroy_event(self, event: int) -> None:
        del self.held[event]

    def begin_capture(self, stream: int) -> None:
        self._count("begin_capture")
        self.recording = []

    def end_capture(self, stream: int) -> int:
        recorded, self.recording = self.recording, None
        handle = self._hold("end_capture", "graph")
        self.graphs[handle] = recorded or []
        return handle

    def launch(self, graph: int, stream: int) -> None:
        self._count("launch")
        for work in self.graphs[graph]:
            work()

    def destroy_graph(self, graph: int) -> None:
        del self.held[graph]

    def close(self) -> None:
        self.closed = True
