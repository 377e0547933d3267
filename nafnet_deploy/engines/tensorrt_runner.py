"""Runs plans of TensorRT (10.12 and later, 11) and TensorRT-RTX: the library is an argument, their calls are the same.

Source of the call order: NVIDIA's TensorRT developer guide, "Performing inference" and "CUDA graphs".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import DeviceTimes, SizeLimits, Tensors
from nafnet_deploy.engines.cuda.base import Cuda
from nafnet_deploy.engines.tensorrt_buffers import Buffers
from nafnet_deploy.engines.tensorrt_log import library_logger, listening
from nafnet_deploy.engines.tensorrt_profiles import Profile, Shape, choose_profile, limits_of, read_profiles
from nafnet_deploy.engines.tensorrt_timing import layers_json, measure
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import TensorSpec

_log = logging.getLogger(__name__)
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}
"""`DataType` to NumPy; what is missing here has no type in NumPy."""
_BROKEN = "Look with: nafdeploy doctor, and build the plan again."


class TensorRTEngine:
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
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._buffers = Buffers(cuda)
        self._undo: list[Callable[[], None]] = [cuda.close]
        self._shapes: dict[str, Shape] | None = None
        self._profile, self._runs = 0, 0
        self._graph: int | None = None
        try:
            self._load(plan)
            self.inputs, self.outputs = self._specs(axes or {})
            self.profiles = read_profiles(self._engine, [spec.name for spec in self.inputs])
            self.size_limits = limits_of(self.profiles)
            self._stream = self._held(cuda.create_stream(), cuda.destroy_stream)
            self._undo.append(self._buffers.close)
            self._start, self._end = (self._held(cuda.create_event(), cuda.destroy_event) for _ in range(2))
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes) -> None:
        self._undo.append(self._forget)
        with listening(self._library) as heard:
            # All three stay referenced: the context needs the engine, and the engine the runtime.
            self._runtime = self._library.Runtime(library_logger(self._library))
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            self._context = None if self._engine is None else self._create_context()
        if self._context is None:
            fault = "cannot load the plan" if self._engine is None else "loads the plan and cannot start it"
            reason = f": {heard.errors[-1]}" if heard.errors else ""
            raise EngineError(f"{self.name} {fault}{reason}.", _BROKEN)

    def _create_context(self) -> Any:
        strategies = getattr(self._library, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:  # plain TensorRT compiles everything in the build
            return self._engine.create_execution_context()
        # RTX would start with slow kernels, swap in others while running, and leave the slow ones in a CUDA graph.
        settings = self._engine.create_runtime_config()
        settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return self._engine.create_execution_context(settings)

    def _forget(self) -> None:
        self._context = self._engine = self._runtime = None

    def _held(self, handle: int, give_back: Callable[[int], None]) -> int:
        self._undo.append(lambda: give_back(handle))
        return handle

    def _specs(self, axes: Mapping[str, tuple[int | str, ...]]) -> tuple[tuple[TensorSpec, ...], ...]:
        found: dict[Any, list[TensorSpec]] = {mode: [] for mode in self._modes}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = self._engine.get_tensor_dtype(name).name
            if dtype not in _DTYPES:
                raise EngineError(f"{self.name} takes or gives {dtype} at {name!r}, which NumPy lacks.", _BROKEN)
            shape = tuple(self._engine.get_tensor_shape(name))
            words = axes.get(name, ())
            named = tuple(
                side if side >= 0 else words[i] if i < len(words) else f"free{i}" for i, side in enumerate(shape)
            )
            found[self._engine.get_tensor_mode(name)].append(TensorSpec(name, _DTYPES[dtype], named))
        return tuple(tuple(found[mode]) for mode in self._modes)

    @property
    def _modes(self) -> tuple[Any, Any]:
        return self._library.TensorIOMode.INPUT, self._library.TensorIOMode.OUTPUT

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
        profile = self._profile if shapes == self._shapes else choose_profile(self.profiles, shapes)
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
        if profile != self._profile:
            self._need(self._context.set_optimization_profile_async(profile, self._stream), "profile", profile)
            self._cuda.synchronize(self._stream)
            self._profile = profile
        for name, shape in shapes.items():
            self._need(self._context.set_input_shape(name, shape), "shape of", name)
        if missing := self._context.infer_shapes():
            raise EngineError(f"{self.name} cannot tell the shapes of {', '.join(missing)}.", _BROKEN)
        for spec in (*self.inputs, *self.outputs):
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if not shape or min(shape) < 1:
                raise EngineError(f"{self.name} gives {spec.name!r} the impossible shape {list(shape)}.", _BROKEN)
            pointer = self._buffers.fit(spec.name, shape, spec.dtype)
            self._need(self._context.set_tensor_address(spec.name, pointer), "address of", spec.name)
        self._shapes = shapes

    def _pass(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        cuda, stream = self._cuda, self._stream
        if self._runs == 1 and self._graphs:
            self._graph = self._record()
        for name, array in feeds.items():
            self._buffers.upload(name, array, stream)
        cuda.record(self._start, stream)
        if self._graph is not None:
            cuda.launch(self._graph, stream)
        else:
            self._need(self._context.execute_async_v3(stream), "run of", dict(self._shapes or {}))
        cuda.record(self._end, stream)
        for spec in self.outputs:
            self._buffers.download(spec.name, stream)
        cuda.synchronize(stream)
        self._runs += 1
        self.device_ms = cuda.elapsed_ms(self._start, self._end)
        return {spec.name: self._buffers.taken(spec.name) for spec in self.outputs}

    def _record(self) -> int | None:
        """The queued work as a CUDA graph; None where it cannot be recorded, and then never again."""
        self._graphs = False
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX alone has it
        if capturable is not None and not capturable(self._stream):
            _log.debug("%s runs without CUDA graphs: the library cannot be recorded", self.name)
            return None
        try:
            self._cuda.begin_capture(self._stream)
            queued = self._context.execute_async_v3(self._stream)
            graph = self._cuda.end_capture(self._stream)
        except EngineError as error:
            _log.debug("%s runs without CUDA graphs: %s", self.name, error.message)
            return None
        if not queued:
            self._cuda.destroy_graph(graph)
            _log.debug("%s runs without CUDA graphs: the library queued nothing", self.name)
            return None
        self._graphs = True
        return graph

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.destroy_graph(self._graph)
            self._graph = None

    def _need(self, done: bool, what: str, which: object) -> None:
        if not done:
            raise EngineError(f"{self.name} refused the {what} {which}.", _BROKEN)

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
                self._context.execute_async_v3,
                self._graph,
                runs,
            )
        except BaseException:
            self.close()
            raise

    def layers_json(self) -> str:
        """The plan's layers as the library's inspector lists them; `EngineError` where it does not."""
        return layers_json(self._library, self._engine)

    def close(self) -> None:
        """Frees the plan, its memory and the GPU; calling it twice is harmless."""
        self._drop_graph()
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
