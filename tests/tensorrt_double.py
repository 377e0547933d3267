"""A recording double of the TensorRT library: proves which calls are made and in which order, never that they work."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.cuda_double import NumpyCuda

PLAN = b"a whole plan"
SCALE = 2
Dims = tuple[int, ...]


def double(x: NDArray[Any]) -> NDArray[Any]:
    """What the double's network computes: twice the size, one minus the value."""
    return np.asarray(1 - x.repeat(SCALE, axis=2).repeat(SCALE, axis=3), x.dtype)


class Mode(enum.Enum):
    """As `TensorIOMode`."""

    INPUT = 1
    OUTPUT = 2


class Library:
    """The module: hand `as_module()` to the code under test.

    Args:
        cuda: where the addresses point to.
        profiles: (smallest, largest) of the input, per profile.
        shape: the input as the plan declares it.
        refuse: names of calls that return False (or None) from now on.
    """

    def __init__(
        self,
        cuda: NumpyCuda,
        profiles: tuple[tuple[Dims, Dims], ...] = (((1, 3, 2, 2), (2, 3, 16, 16)),),
        shape: Dims = (-1, 3, -1, -1),
        refuse: set[str] | None = None,
        dtype: type = np.float32,
    ) -> None:
        self.cuda, self.profiles, self.shape, self.dtype = cuda, profiles, shape, dtype
        self.refuse = refuse or set()
        self.calls: list[tuple[Any, ...]] = []
        self.alive: set[str] = set()
        self.capturable: bool | None = None
        self.error = ""

    def record(self, name: str, *values: Any) -> bool:
        self.calls.append((name, *values))
        return name not in self.refuse

    def as_module(self, version: str = "1.7.1.116") -> Any:
        module: Any = types.ModuleType(f"double_{id(self)}")
        library = self

        class ILogger:
            def __init__(self) -> None: ...

        class Runtime:
            def __init__(self, logger: ILogger) -> None:
                self.logger = logger
                library.alive.add("runtime")

            def __del__(self) -> None:
                library.alive.discard("runtime")

            def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
                if not library.record("deserialize_cuda_engine", plan):
                    if library.error:
                        self.logger.log(types.SimpleNamespace(name="ERROR"), library.error)  # type: ignore[attr-defined]
                    return None
                return Engine(library)

        module.__version__ = version
        module.ILogger, module.Runtime, module.TensorIOMode = ILogger, Runtime, Mode
        return module


class Engine:
    """As `ICudaEngine`."""

    num_io_tensors = 2

    def __init__(self, library: Library) -> None:
        self.fake = library
        self.num_optimization_profiles = len(library.profiles)
        library.alive.add("engine")

    def __del__(self) -> None:
        self.fake.alive.discard("engine")

    def get_tensor_name(self, index: int) -> str:
        return ("input", "output")[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode[name.upper()]

    def get_tensor_dtype(self, name: str) -> types.SimpleNamespace:
        names = {np.float32: "FLOAT", np.float16: "HALF"}
        return types.SimpleNamespace(name=names.get(self.fake.dtype, "BF16"))

    def get_tensor_shape(self, name: str) -> Dims:
        shape = self.fake.shape
        return shape if name == "input" else scaled(shape)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[Dims]:
        assert -1 in self.fake.shape
        smallest, largest = self.fake.profiles[index]
        return [smallest, smallest, largest]

    def create_runtime_config(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(dynamic_shapes_kernel_specialization_strategy="lazy")

    def create_execution_context(self, config: types.SimpleNamespace | None = None) -> Context | None:
        said = () if config is None else (config.dynamic_shapes_kernel_specialization_strategy,)
        return Context(self.fake) if self.fake.record("create_execution_context", *said) else None


def scaled(shape: Dims) -> Dims:
    batch, channels, *sides = shape
    return (batch, channels, *(side if side < 0 else side * SCALE for side in sides))


class Context:
    """As `IExecutionContext`; refuses shapes outside the active profile as the library does."""

    def __init__(self, library: Library) -> None:
        self.fake, self.profile = library, 0
        self.shape: Dims = library.shape
        self.addresses: dict[str, int] = {}
        library.alive.add("context")
        if library.capturable is not None:
            self.is_stream_capturable: Callable[[int], bool] = lambda stream: bool(library.capturable)

    def __del__(self) -> None:
        self.fake.alive.discard("context")

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return self.fake.record("set_optimization_profile_async", index)

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        low, high = self.fake.profiles[self.profile] if -1 in self.fake.shape else (shape, shape)
        self.shape = shape
        inside = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        return self.fake.record("set_input_shape", name, shape) and inside

    def infer_shapes(self) -> list[str]:
        return [] if self.fake.record("infer_shapes") else ["input"]

    def get_tensor_shape(self, name: str) -> Dims:
        return self.shape if name == "input" else scaled(self.shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return self.fake.record("set_tensor_address", name)

    def execute_async_v3(self, stream: int) -> bool:
        if not self.fake.record("execute_async_v3", self.fake.cuda.recording is not None):
            return False
        cuda, dtype, shape, at = self.fake.cuda, np.dtype(self.fake.dtype).name, self.shape, dict(self.addresses)

        def work() -> None:
            cuda.memory(at["output"], dtype, scaled(shape))[:] = double(cuda.memory(at["input"], dtype, shape))

        cuda.queue(work)
        return True
