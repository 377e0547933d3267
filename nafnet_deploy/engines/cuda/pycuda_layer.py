"""CUDA through pycuda. Importing this needs pycuda, which needs a driver."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as driver
from numpy.typing import NDArray

from nafnet_deploy.engines.cuda.base import no_gpu
from nafnet_deploy.engines.cuda.driver_graphs import DriverGraphs
from nafnet_deploy.errors import EngineError, MachineError

_log = logging.getLogger(__name__)
_NON_BLOCKING = 1


class PyCuda:
    """Satisfies the `Cuda` protocol in the primary context: `pycuda.autoinit` would make one of its own.

    Raises:
        MachineError: no GPU, or a driver that does not start.
    """

    name = "pycuda"

    def __init__(self) -> None:
        try:
            driver.init()
            devices = int(driver.Device.count())
        except driver.Error as error:
            if "no CUDA-capable device" in str(error):
                raise no_gpu() from error
            raise MachineError(f"CUDA does not start: {error}.", "Look with: nafdeploy doctor") from error
        if not devices:
            raise no_gpu()
        device = driver.Device(0)
        self._graphs = DriverGraphs(ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1"))
        # pycuda frees an object when its last reference goes: these tables are what keeps them.
        self._memory: dict[int, Any] = {}
        self._host: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._context: Any = device.retain_primary_context()
        self._context.push()

    def allocate(self, size: int) -> int:
        """Device memory of `size` bytes."""
        with _explained("cuMemAlloc", size):
            allocation = driver.mem_alloc(size)
        self._memory[int(allocation)] = allocation
        return int(allocation)

    def free(self, pointer: int) -> None:
        """Gives back device memory."""
        _release(self._memory.pop(pointer).free)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory."""
        with _explained("cuMemHostAlloc", size):
            array: NDArray[np.uint8] = driver.pagelocked_empty(size, np.uint8)
        self._host[array.ctypes.data] = array.base
        return array

    def unpin(self, array: NDArray[np.uint8]) -> None:
        """Gives back page-locked memory."""
        _release(self._host.pop(array.ctypes.data).free)

    def upload(self, pointer: int, source: NDArray[Any], stream: int) -> None:
        """Queues a copy to the device."""
        with _explained("cuMemcpyHtoDAsync"):
            driver.memcpy_htod_async(pointer, source, self._streams[stream])

    def download(self, target: NDArray[Any], pointer: int, stream: int) -> None:
        """Queues a copy from the device."""
        with _explained("cuMemcpyDtoHAsync"):
            driver.memcpy_dtoh_async(target, pointer, self._streams[stream])

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Queues a copy inside the device."""
        with _explained("cuMemcpyDtoDAsync"):
            driver.memcpy_dtod_async(target, source, size, self._streams[stream])

    def create_stream(self) -> int:
        """A non-blocking stream."""
        with _explained("cuStreamCreate"):
            stream = driver.Stream(_NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def synchronize(self, stream: int) -> None:
        """Waits for the stream."""
        with _explained("cuStreamSynchronize"):
            self._streams[stream].synchronize()

    def destroy_stream(self, stream: int) -> None:
        """Gives back a stream."""
        del self._streams[stream]

    def create_event(self) -> int:
        """A mark with a time."""
        with _explained("cuEventCreate"):
            event = driver.Event()
        self._events[id(event)] = event
        return id(event)

    def record(self, event: int, stream: int) -> None:
        """Queues a mark."""
        with _explained("cuEventRecord"):
            self._events[event].record(self._streams[stream])

    def elapsed_ms(self, start: int, end: int) -> float:
        """Device time between two marks (ms)."""
        with _explained("cuEventElapsedTime"):
            return float(self._events[end].time_since(self._events[start]))

    def destroy_event(self, event: int) -> None:
        """Gives back an event."""
        del self._events[event]

    def begin_capture(self, stream: int) -> None:
        """Starts recording the stream."""
        self._graphs.begin(stream)

    def end_capture(self, stream: int) -> int:
        """Ends the recording; an executable graph."""
        return self._graphs.end(stream)

    def launch(self, graph: int, stream: int) -> None:
        """Queues a graph."""
        self._graphs.launch(graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Gives back a graph."""
        self._graphs.destroy(graph)

    def close(self) -> None:
        """Leaves the primary context, which others may go on using."""
        if self._context is None:
            return
        for table in (self._events, self._streams, self._memory, self._host):
            table.clear()
        context, self._context = self._context, None
        _release(context.pop)  # pycuda ends the process if a context is still pushed at its exit
        _release(context.detach)


@contextmanager
def _explained(name: str, size: int = 0) -> Iterator[None]:
    """pycuda's errors as ours. `size` is told when memory runs out (bytes)."""
    try:
        yield
    except driver.MemoryError as error:
        raise EngineError(
            f"{size / 1e6:.0f} MB of GPU memory are not free ({name}).", "Use smaller tiles: --tile 256"
        ) from error
    except driver.Error as error:
        raise EngineError(f"CUDA failed in {name}: {error}.", "Look with: nafdeploy doctor") from error


def _release(give_back: Callable[[], None]) -> None:
    try:
        give_back()
    except driver.Error as error:
        _log.debug("%s", error)
