"""A double of the TensorRT library whose plans are ONNX graphs: it computes them, in the memory of a GPU in NumPy.

It proves addresses, sizes, copies and graphs of whoever runs several plans together; it says nothing about real plans.
"""

from __future__ import annotations

import re
import types
from typing import Any

import numpy as np
import onnx
import onnxruntime

from nafnet_deploy.manifest import Bundle
from tests.cuda_double import NumpyCuda
from tests.tensorrt_double import Dims, Mode

_TYPES = {1: ("FLOAT", "float32"), 10: ("HALF", "float16")}


class PartsLibrary:
    """The module: hand `as_module()` to the code under test.

    Args:
        cuda: where the addresses point to.
        largest: largest batch, height and width of the picture that a plan takes.
    """

    def __init__(self, cuda: NumpyCuda, largest: tuple[int, int, int] = (4, 64, 64)) -> None:
        self.cuda, self.largest = cuda, largest
        self.runs: list[tuple[str, dict[str, int]]] = []
        """Which graph was queued or recorded, and where its tensors lay."""

    def as_module(self, version: str = "1.7.1.116") -> Any:
        module: Any = types.ModuleType(f"parts_double_{id(self)}")
        library = self

        class ILogger:
            def __init__(self) -> None: ...

        class Runtime:
            def __init__(self, logger: ILogger) -> None: ...

            def deserialize_cuda_engine(self, plan: bytes) -> Engine:
                return Engine(library, plan)

        module.__version__ = version
        module.ILogger, module.Runtime, module.TensorIOMode = ILogger, Runtime, Mode
        return module


class Engine:
    """As `ICudaEngine`."""

    num_optimization_profiles = 1

    def __init__(self, library: PartsLibrary, plan: bytes) -> None:
        self.fake = library
        graph = onnx.load_from_string(plan).graph
        self.name = graph.name.rpartition(" ")[2]
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.modes = {v.name: Mode.INPUT for v in graph.input} | {v.name: Mode.OUTPUT for v in graph.output}
        values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.output)}
        self.types = {name: _TYPES[t.elem_type] for name, t in values.items()}
        self.dims = {name: [d.dim_param or d.dim_value for d in t.shape.dim] for name, t in values.items()}
        self.num_io_tensors = len(self.modes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.modes)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return self.modes[name]

    def get_tensor_dtype(self, name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(name=self.types[name][0])

    def get_tensor_shape(self, name: str) -> Dims:
        return tuple(-1 if isinstance(d, str) else d for d in self.dims[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[Dims]:
        words = dict(zip(("batch", "height", "width"), self.fake.largest, strict=True))
        largest = tuple(d if isinstance(d, int) else _value(d, words) for d in self.dims[name])
        smallest = tuple(d if isinstance(d, int) else 1 for d in self.dims[name])
        return [smallest, smallest, largest]

    def create_execution_context(self) -> Context:
        return Context(self)


def _value(word: str, words: dict[str, int]) -> int:
    found = re.fullmatch(r"(\w+?)(?:/(\d+))?", word)
    assert found
    return words[found[1]] // int(found[2] or 1)


class Context:
    """As `IExecutionContext`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, Dims] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        self.shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        words: dict[str, int] = {}
        for name, shape in self.shapes.items():
            if self.engine.modes[name] is Mode.INPUT:
                for word, side in zip(self.engine.dims[name], shape, strict=True):
                    if isinstance(word, str) and words.setdefault(word, side) != side:
                        return [name]
        if "height/4" in words:
            words |= {"height": words["height/4"] * 4, "width": words["width/4"] * 4}
        for name, mode in self.engine.modes.items():
            if mode is Mode.OUTPUT:
                dims = self.engine.dims[name]
                self.shapes[name] = tuple(d if isinstance(d, int) else _value(d, words) for d in dims)
        return []

    def get_tensor_shape(self, name: str) -> Dims:
        return self.shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine, cuda, at, shapes = self.engine, self.engine.fake.cuda, dict(self.addresses), dict(self.shapes)
        engine.fake.runs.append((engine.name, at))

        def tensor(name: str) -> Any:
            return cuda.memory(at[name], engine.types[name][1], shapes[name])

        def work() -> None:
            feeds = {n: np.array(tensor(n)) for n, mode in engine.modes.items() if mode is Mode.INPUT}
            made = [n for n, mode in engine.modes.items() if mode is Mode.OUTPUT]
            for name, value in zip(made, engine.session.run(made, feeds), strict=True):
                tensor(name)[...] = value

        cuda.queue(work)
        return True


def plans_of_graphs(bundle: Bundle) -> dict[str, bytes]:
    """The graphs themselves, as the plans of this double."""
    return {name: bundle.part(name).read_bytes() for name in bundle.manifest.parts}
