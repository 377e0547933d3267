"""The arithmetic floor: how long a network's multiply-adds would take at the rate of a large matrix product."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 2048
"""Side of the float32 matrices: large enough that a library reaches its best rate."""
REPEATS = 8
SECONDS = 1.5
"""A library that has taken this long over its turns, and three of them, has shown its rate."""

Product = Callable[[NDArray[np.float32], NDArray[np.float32]], object]
"""A matrix product of a library, as it multiplies with the threads it was told to use."""


@dataclasses.dataclass(frozen=True)
class Gemm:
    """A large float32 matrix product of the library that multiplies fastest on this machine."""

    backend: str
    """Whose product it is."""
    side: int
    """Both matrices are side x side."""
    cores: float
    """Processor time over wall time of its fastest turn: how many cores it kept busy."""
    run: Callable[[], object]
    """Multiplies once."""

    def rate(self, rounds_ms: Mapping[int, Sequence[float]]) -> GemmRate:
        """What turns of it between engines say: its times (ms) by the N of its neighbours, in round order."""
        median = float(np.median([ms for times in rounds_ms.values() for ms in times]))
        rounds = {str(n): tuple(times) for n, times in rounds_ms.items()}
        return GemmRate(self.backend, self.side, 2 * self.side**3 / median / 1e6, self.cores, rounds)


@dataclasses.dataclass(frozen=True)
class GemmRate:
    """How fast such a product was between the engines of a benchmark."""

    backend: str
    """Whose product it was."""
    side: int
    """Both matrices are side x side."""
    gflops: float
    """2 x side^3 operations over the median time (10^9 per second)."""
    cores: float
    """How many cores it kept busy."""
    rounds_ms: dict[str, tuple[float, ...]]
    """By iteration n: its times next to the engines at that n, in round order (ms)."""

    def share(self, iteration: int, macs: float, times_ms: Sequence[float]) -> float:
        """Time of `macs` multiply-adds in the product over the time of an engine, both of one round; the median.

        Of one round, because a machine that others use is as fast as it was at its best only now and then: against
        the best moment of the product, an engine would be charged with what others took while it ran.

        Args:
            iteration: the engine's n.
            macs: multiply-adds of the network at that n.
            times_ms: the engine's times, in round order (ms).
        """
        ratios = np.asarray(self.rounds_ms[str(iteration)]) / np.asarray(times_ms)
        return float(np.median(ratios)) * macs / self.side**3


def fastest_product(products: Mapping[str, Product], side: int = SIDE, repeats: int = REPEATS) -> Gemm:
    """Times each library's product a few times and returns the one with the fastest turn.

    Args:
        products: by library; one at least.
        side: see `SIDE`.
        repeats: most turns of each, after one untimed; 1 or more.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.random((side, side), dtype=np.float32) for _ in range(2))
    found = {name: _fastest_turn(partial(product, a, b), repeats) for name, product in products.items()}
    backend = min(found, key=lambda name: found[name][0])
    return Gemm(backend, side, found[backend][1], partial(products[backend], a, b))


def _fastest_turn(multiply: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the fastest turn and the cores that it kept busy."""
    multiply()
    wall: list[float] = []
    cores: list[float] = []
    while len(wall) < repeats and not (len(wall) >= 3 and sum(wall) > SECONDS):
        start, spent = time.perf_counter(), time.process_time()
        multiply()
        wall.append(max(time.perf_counter() - start, 1e-9))
        cores.append((time.process_time() - spent) / wall[-1])
    best = int(np.argmin(wall))
    return wall[best], cores[best]


def onnxruntime_product(threads: int | None = None) -> Product:
    """ONNX Runtime's matrix product.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """
    import onnx
    import onnxruntime

    words = ("side", "side")
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [make(name, onnx.TensorProto.FLOAT, words) for name in ("a", "b")],
        [make("c", onnx.TensorProto.FLOAT, words)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10  # older ONNX Runtimes read no newer one
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda a, b: session.run(None, {"a": a, "b": b})


def count_macs(graph: Path | bytes, shape: tuple[int, int, int, int]) -> float:
    """Multiply-adds of a graph's convolutions and matrix products for an input [B, C, H, W].

    A 1x1 convolution to or from one channel is not counted: it stands for a sum over the channels in a norm or in a
    reflected trunk, or spreads one, and a graph that writes the same otherwise must have the same floor.

    Raises:
        ImportError: onnx is not installed.
    """
    import onnx

    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(str(graph))
    free = {}
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if dim.dim_param:
                free[dim.dim_param] = size
            dim.Clear()
            dim.dim_value = size
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in free:
                dim.dim_value = free[dim.dim_param]
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {w.name: w for w in inferred.initializer}
    sizes = {v.name: _dims(v) for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    sizes.update({name: tuple(w.dims) for name, w in weights.items()})
    total = 0.0
    for node in inferred.node:
        if node.op_type == "Conv":
            kernel = sizes[node.input[1]]
            if not _sums_or_spreads(weights.get(node.input[1])):
                total += math.prod(sizes[node.output[0]]) * math.prod(kernel[1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += math.prod(sizes[node.output[0]]) * sizes[node.input[0]][-1]
    return total


def _dims(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _sums_or_spreads(weight: Any) -> bool:
    """Whether a dense 1x1 convolution has one channel on either side."""
    return weight is not None and 1 in weight.dims[:2] and list(weight.dims[2:]) == [1, 1]
