"""CUDA through cuda-python's runtime bindings (package `cuda-bindings`)."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import cuda.bindings
import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from nafnet_deploy.engines.cuda.base import driver_too_old, no_gpu
from nafnet_deploy.errors import EngineError

_log = logging.getLogger(__name__)


class CudaPython:
    """Satisfies the `Cuda` protocol. The runtime works in the primary context by itself.

    Raises:
        MachineError: no driver, one that is too old for the bindings, or no GPU.
    """

    name = "cuda-python"

    def __init__(self) -> None:
        driver = _call("cudaDriverGetVersion")
        error, count = cudart.cudaGetDeviceCount()
        codes = cudart.cudaError_t
        # Without any driver, version 0, the runtime also says that the driver is too old.
        if driver == 0 or error == codes.cudaErrorNoDevice or (error == codes.cudaSuccess and count == 0):
            raise no_gpu()
        if error == codes.cudaErrorInsufficientDriver:
            serves = f"{driver // 1000}.{driver % 1000 // 10}"
            raise driver_too_old(serves, f"cuda-bindings {cuda.bindings.__version__}")
        _check("cudaGetDeviceCount", error)
        _call("cudaSetDevice", 0)

    def allocate(self, size: int) -> int:
        """Device memory of `size` bytes."""
        return int(_call("cudaMalloc", size, size=size))

    def free(self, pointer: int) -> None:
        """Gives back device memory."""
        _release("cudaFree", pointer)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory."""
        address = int(_call("cudaHostAlloc", size, 0, size=size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def unpin(self, array: NDArray[np.uint8]) -> None:
        """Gives back page-locked memory."""
        _release("cudaFreeHost", array.ctypes.data)

    def upload(self, pointer: int, source: NDArray[Any], stream: int) -> None:
        """Queues a copy to the device."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call("cudaMemcpyAsync", pointer, source.ctypes.data, source.nbytes, kind, stream)

    def download(self, target: NDArray[Any], pointer: int, stream: int) -> None:
        """Queues a copy from the device."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call("cudaMemcpyAsync", target.ctypes.data, pointer, target.nbytes, kind, stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Queues a copy inside the device."""
        _call("cudaMemcpyAsync", target, source, size, cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)

    def create_stream(self) -> int:
        """A non-blocking stream."""
        return int(_call("cudaStreamCreateWithFlags", cudart.cudaStreamNonBlocking))

    def synchronize(self, stream: int) -> None:
        """Waits for the stream."""
        _call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Gives back a stream."""
        _release("cudaStreamDestroy", stream)

    def create_event(self) -> int:
        """A mark with a time."""
        return int(_call("cudaEventCreate"))

    def record(self, event: int, stream: int) -> None:
        """Queues a mark."""
        _call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Device time between two marks (ms)."""
        return float(_call("cudaEventElapsedTime", start, end))

    def destroy_event(self, event: int) -> None:
        """Gives back an event."""
        _release("cudaEventDestroy", event)

    def begin_capture(self, stream: int) -> None:
        """Starts recording the stream; only this thread's calls may disturb it."""
        _call("cudaStreamBeginCapture", stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> int:
        """Ends the recording; an executable graph."""
        graph = _call("cudaStreamEndCapture", stream)
        try:
            return int(_call("cudaGraphInstantiate", graph, 0))
        finally:
            _release("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Queues a graph."""
        _call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Gives back a graph."""
        _release("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Nothing to let go of: the primary context belongs to the process."""


def _call(name: str, *arguments: Any, size: int = 0) -> Any:
    """Calls the runtime; the one value it returns, or None. `size` is told when memory runs out (bytes)."""
    error, *values = getattr(cudart, name)(*arguments)
    _check(name, error, size)
    return values[0] if values else None


def _check(name: str, error: Any, size: int = 0) -> None:
    if not int(error):
        return
    if error == cudart.cudaError_t.cudaErrorMemoryAllocation:
        cudart.cudaGetLastError()  # it would be reported again by the next call of anybody in this process
        raise EngineError(f"{size / 1e6:.0f} MB of GPU memory are not free ({name}).", "Use smaller tiles: --tile 256")
    raise EngineError(f"CUDA failed in {name}: {_text(error)}.", "Look with: nafdeploy doctor")


def _release(name: str, handle: Any) -> None:
    error = getattr(cudart, name)(handle)[0]
    if int(error):
        _log.debug("%s failed: %s", name, _text(error))


def _text(error: Any) -> str:
    return f"{error.name}, {cudart.cudaGetErrorString(error)[1].decode()}"
