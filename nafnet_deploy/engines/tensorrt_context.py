"""A plan of TensorRT (10.12 and later, 11) or TensorRT-RTX in memory; the library is an argument.

Source of the call order: NVIDIA's TensorRT developer guide, "Performing inference" and "CUDA graphs".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from nafnet_deploy.engines.cuda.base import Cuda
from nafnet_deploy.engines.tensorrt_log import library_logger, listening
from nafnet_deploy.engines.tensorrt_profiles import Profile, Shape, choose_profile, read_profiles
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
BROKEN = "Look with: nafdeploy doctor, and build the plan again."
"""How to mend what the library refuses."""


class LoadedPlan:
    """A plan and one execution context. Memory is the business of whoever runs it.

    Args:
        library: the module `tensorrt` or `tensorrt_rtx`.
        plan: a plan that was checked: a damaged one may crash the process inside the library.
        name: the truth about it, for messages.
        axes: words for the free dimensions of each tensor.

    Raises:
        EngineError: the library refuses the plan, or a tensor has a type that NumPy lacks.
    """

    def __init__(
        self, library: Any, plan: bytes, name: str, axes: Mapping[str, tuple[int | str, ...]] | None = None
    ) -> None:
        self.name, self._library = name, library
        self._runtime: Any = None
        self.engine: Any = None
        """The library's engine; None once closed."""
        self.context: Any = None
        """The library's execution context; None once closed."""
        self._profile = 0
        self.recordable = True
        """Whether its work can be recorded as CUDA graphs, as far as is known."""
        try:
            self._load(plan)
            self.inputs, self.outputs = self._specs(axes or {})
            self.profiles: tuple[Profile, ...] = read_profiles(self.engine, [spec.name for spec in self.inputs])
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes) -> None:
        with listening(self._library) as heard:
            # All three stay referenced: the context needs the engine, and the engine the runtime.
            self._runtime = self._library.Runtime(library_logger(self._library))
            self.engine = self._runtime.deserialize_cuda_engine(plan)
            self.context = None if self.engine is None else self._create_context()
        if self.context is None:
            fault = "cannot load the plan" if self.engine is None else "loads the plan and cannot start it"
            reason = f": {heard.errors[-1]}" if heard.errors else ""
            raise EngineError(f"{self.name} {fault}{reason}.", BROKEN)

    def _create_context(self) -> Any:
        strategies = getattr(self._library, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:  # plain TensorRT compiles everything in the build
            return self.engine.create_execution_context()
        # RTX would start with slow kernels, swap in others while running, and leave the slow ones in a CUDA graph.
        settings = self.engine.create_runtime_config()
        settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return self.engine.create_execution_context(settings)

    def _specs(self, axes: Mapping[str, tuple[int | str, ...]]) -> tuple[tuple[TensorSpec, ...], ...]:
        modes = self._library.TensorIOMode.INPUT, self._library.TensorIOMode.OUTPUT
        found: dict[Any, list[TensorSpec]] = {mode: [] for mode in modes}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            dtype = self.engine.get_tensor_dtype(name).name
            if dtype not in _DTYPES:
                raise EngineError(f"{self.name} takes or gives {dtype} at {name!r}, which NumPy lacks.", BROKEN)
            shape = tuple(self.engine.get_tensor_shape(name))
            words = axes.get(name, ())
            named = tuple(
                side if side >= 0 else words[i] if i < len(words) else f"free{i}" for i, side in enumerate(shape)
            )
            found[self.engine.get_tensor_mode(name)].append(TensorSpec(name, _DTYPES[dtype], named))
        return tuple(tuple(found[mode]) for mode in modes)

    def choose(self, shapes: Mapping[str, Shape]) -> int:
        """The number of the profile that holds these inputs; touches nothing.

        Raises:
            EngineError: none does.
        """
        return choose_profile(self.profiles, shapes)

    def resize(self, profile: int, shapes: Mapping[str, Shape], cuda: Cuda, stream: int) -> dict[str, Shape]:
        """Makes the context ready for these inputs; graphs that were recorded before hold the old sizes.

        Returns:
            The shape of every input and output.

        Raises:
            EngineError: the library refuses.
        """
        if profile != self._profile:
            self.need(self.context.set_optimization_profile_async(profile, stream), "profile", profile)
            cuda.synchronize(stream)
            self._profile = profile
        for name, shape in shapes.items():
            self.need(self.context.set_input_shape(name, shape), "shape of", name)
        if missing := self.context.infer_shapes():
            raise EngineError(f"{self.name} cannot tell the shapes of {', '.join(missing)}.", BROKEN)
        found = {}
        for spec in (*self.inputs, *self.outputs):
            shape = tuple(self.context.get_tensor_shape(spec.name))
            if not shape or min(shape) < 1:
                raise EngineError(f"{self.name} gives {spec.name!r} the impossible shape {list(shape)}.", BROKEN)
            found[spec.name] = shape
        return found

    def place(self, name: str, pointer: int) -> None:
        """Tells where a tensor lies on the device, for whatever is queued or recorded from here on.

        Raises:
            EngineError: the library refuses.
        """
        self.need(self.context.set_tensor_address(name, pointer), "address of", name)

    def queue(self, stream: int) -> bool:
        """Queues one pass; False when the library refuses."""
        return bool(self.context.execute_async_v3(stream))

    def record(self, cuda: Cuda, stream: int) -> int | None:
        """One pass as a CUDA graph; None where it cannot be recorded, and `recordable` is False from then on."""
        self.recordable = False
        capturable = getattr(self.context, "is_stream_capturable", None)  # TensorRT-RTX alone has it
        if capturable is not None and not capturable(stream):
            _log.debug("%s runs without CUDA graphs: the library cannot be recorded", self.name)
            return None
        try:
            cuda.begin_capture(stream)
            queued = self.queue(stream)
            graph = cuda.end_capture(stream)
        except EngineError as error:
            _log.debug("%s runs without CUDA graphs: %s", self.name, error.message)
            return None
        if not queued:
            cuda.destroy_graph(graph)
            _log.debug("%s runs without CUDA graphs: the library queued nothing", self.name)
            return None
        self.recordable = True
        return graph

    def need(self, done: bool, what: str, which: object) -> None:
        """Turns a refusal of the library into an `EngineError`."""
        if not done:
            raise EngineError(f"{self.name} refused the {what} {which}.", BROKEN)

    def close(self) -> None:
        """Lets go of the plan; calling it twice is harmless."""
        self.context = self.engine = self._runtime = None
