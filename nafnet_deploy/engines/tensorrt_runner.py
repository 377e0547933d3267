"""Runs plans of TensorRT (10.12 and later, 11) and TensorRT-RTX; the library is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, DeviceTimes, SizeLimits, Tensors
from nafnet_deploy.engines.cuda.base import Cuda
from nafnet_deploy.engines.tensorrt_buffers import Buffers
from nafnet_deploy.engines.tensorrt_context import LoadedPlan
from nafnet_deploy.engines.tensorrt_profiles import Profile, Shape, limits_of
from nafnet_deploy.engines.tensorrt_timing import layers_json, measure
from nafnet_deploy.errors import EngineError


class TensorRTEngine(Closing):
    """A plan on the first GPU. Satisfies the `Engine` protocol; belongs to the thread that opened it.

    The first run of a shape is queued plainly, the second is recorded as a CUDA graph and later ones replay it.
    Whatever fails on the device closes the engine; a shape or type that does not fit leaves it usable.

    Args:
        library: the module `tensorrt` or `tensorrt_rtx`.
        cuda: the GPU; the engine closes it, also when it cannot be opened.
        plan: a plan that was checked: a damaged one may crash the process inside the library.
        name: the truth about it, e.g. `tensorrt-rtx 1.7 sm86 fp16`.
        axes: words for the free dimensions of each tensor.
        graphs: whether to record CUDA graphs.

    Raises:
        EngineError: the library refuses the plan, or CUDA fails.
    """

    def __init__(
        self,
        library: Any,
        cuda: Cuda,
        plan: bytes,
        name: str,
        axes: Mapping[str, tuple[int | str, ...]] | None = None,
        graphs: bool = True,
    ) -> None:
        self.name = name
        """Library, its version, the GPU and the precision that was built."""
        self.device_ms: float | None = None
        """Device time of the last run without the copies (ms); None before the first."""
        self.profiles: tuple[Profile, ...] = ()
        """What the plan takes."""
        self.size_limits: SizeLimits | None = None
        """Heights and widths of its widest profile."""
        self._library, self._cuda, self._graphs = library, cuda, graphs
        self._buffers = Buffers(cuda)
        self._undo: list[Callable[[], None]] = [cuda.close]
        self._shapes: dict[str, Shape] | None = None
        self._profile, self._runs = 0, 0
        self._graph: int | None = None
        try:
            self._plan = LoadedPlan(library, plan, name, axes)
            self._undo.append(self._plan.close)
            self.inputs, self.outputs, self.profiles = self._plan.inputs, self._plan.outputs, self._plan.profiles
            self.size_limits = limits_of(self.profiles)
            self._stream = self._held(cuda.create_stream(), cuda.destroy_stream)
            self._undo.append(self._buffers.close)
            self._start, self._end = (self._held(cuda.create_event(), cuda.destroy_event) for _ in range(2))
        except BaseException:
            self.close()
            raise

    def _held(self, handle: int, give_back: Callable[[int], None]) -> int:
        self._undo.append(lambda: give_back(handle))
        return handle

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass: an array per input, of its type and a shape inside a profile; a fresh array per output.

        Raises:
            EngineError: the engine is closed, an input is missing, unknown or has another type, a shape lies outside
                every profile, or TensorRT or CUDA failed (which closes the engine).
        """
        if not self._undo:
            raise EngineError(f"{self.name} is closed.", "Open it again.")
        expected = {spec.name: spec.dtype for spec in self.inputs}
        if feeds.keys() != expected.keys():
            raise EngineError(f"the inputs {sorted(feeds)} were given, the plan takes {sorted(expected)}.")
        for name, array in feeds.items():
            if array.dtype != np.dtype(expected[name]):
                raise EngineError(f"the input {name!r} must be {expected[name]}, not {array.dtype}.")
        shapes = {name: array.shape for name, array in feeds.items()}
        profile = self._profile if shapes == self._shapes else self._plan.choose(shapes)
        try:
            if shapes != self._shapes:
                self._bind(profile, shapes)
            return self._pass(feeds)
        except BaseException:  # nobody knows what is still queued
            self.close()
            raise

    def _bind(self, profile: int, shapes: dict[str, Shape]) -> None:
        """Makes the context ready for other shapes."""
        self._drop_graph()  # it holds the old addresses and sizes
        self._shapes, self._runs = None, 0
        found = self._plan.resize(profile, shapes, self._cuda, self._stream)
        self._profile = profile
        for spec in (*self.inputs, *self.outputs):
            self._plan.place(spec.name, self._buffers.fit(spec.name, found[spec.name], spec.dtype))
        self._shapes = shapes

    def _pass(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        cuda, stream = self._cuda, self._stream
        if self._runs == 1 and self._graphs and self._plan.recordable:
            self._graph = self._plan.record(cuda, stream)
        for name, array in feeds.items():
            self._buffers.upload(name, array, stream)
        cuda.record(self._start, stream)
        if self._graph is not None:
            cuda.launch(self._graph, stream)
        else:
            self._plan.need(self._plan.queue(stream), "run of", dict(self._shapes or {}))
        cuda.record(self._end, stream)
        for spec in self.outputs:
            self._buffers.download(spec.name, stream)
        cuda.synchronize(stream)
        self._runs += 1
        self.device_ms = cuda.elapsed_ms(self._start, self._end)
        return {spec.name: self._buffers.taken(spec.name) for spec in self.outputs}

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.destroy_graph(self._graph)
            self._graph = None

    def measure_device(self, feeds: Tensors, runs: int) -> DeviceTimes:
        """Times copies, kernels and CUDA graph apart, by the device's clock (see `base.DeviceTimes`).

        Raises:
            EngineError: see `run`; a failure on the device closes the engine.
        """
        for _ in range(2):  # the second run of a shape records the graph
            self.run(feeds)
        names = tuple(spec.name for spec in self.outputs)
        try:
            return measure(
                self._cuda,
                self._stream,
                (self._start, self._end),
                self._buffers,
                feeds,
                names,
                self._plan.queue,
                self._graph,
                runs,
            )
        except BaseException:
            self.close()
            raise

    def layers_json(self) -> str:
        """The plan's layers as the library's inspector lists them; `EngineError` where it does not."""
        return layers_json(self._library, self._plan.engine)

    def close(self) -> None:
        """Frees the plan, its memory and the GPU; calling it twice is harmless."""
        self._drop_graph()
        while self._undo:
            self._undo.pop()()
