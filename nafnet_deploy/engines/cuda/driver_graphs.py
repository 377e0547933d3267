"""CUDA graphs through the driver library itself: pycuda (2026.1) has no word for them."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

from nafnet_deploy.errors import EngineError

_log = logging.getLogger(__name__)
_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: only this thread's calls may disturb a recording."""


class DriverGraphs:
    """Records and replays streams of the current context.

    Args:
        library: libcuda as `ctypes.CDLL` gives it; entry points of CUDA 11.4 and later.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def begin(self, stream: int) -> None:
        """Starts recording a stream."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))

    def end(self, stream: int) -> int:
        """Ends the recording; an executable graph."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._release("cuGraphDestroy", graph)
        return int(executable.value or 0)

    def launch(self, graph: int, stream: int) -> None:
        """Queues a graph."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy(self, graph: int) -> None:
        """Gives back a graph; never raises."""
        self._release("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise EngineError(f"CUDA failed in {name} with code {code}.", "Look with: nafdeploy doctor")

    def _release(self, name: str, handle: ctypes.c_void_p) -> None:
        if code := getattr(self._library, name)(handle):
            _log.debug("%s failed with code %s", name, code)
