"""OpenVINO on the CPU, in float32 or with its bfloat16 hint."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, Tensors, check_feeds
from nafnet_deploy.engines.cut import graph_of_iterations
from nafnet_deploy.engines.openvino_form import reduce_means
from nafnet_deploy.engines.openvino_norms import fuse_norms
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import Bundle, TensorSpec

_DTYPES = {"f32": "float32", "f16": "float16", "f64": "float64"}


class OpenVinoEngine(Closing):
    """An ONNX graph in OpenVINO's CPU plugin. Satisfies the `Engine` protocol.

    Args:
        graph: path of an `.onnx` file, or the bytes of one.
        threads: threads of a run; None lets OpenVINO take one per core.
        bf16: allow bfloat16 inside. A processor without instructions for it computes in float32 all the same, and
            is refused: the name would lie.

    Raises:
        EngineError: the graph cannot be loaded, or the processor has no bfloat16.
        ConfigError: fewer than 1 thread.
    """

    def __init__(self, graph: str | bytes, threads: int | None = None, bf16: bool = False) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"{threads} threads are impossible.", "Use 1 or more.")
        core = openvino.Core()
        if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("this processor has no bfloat16.", "Use --engine openvino.")
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(graph)  # takes the bytes of a model, or its path
            fuse_norms(model)
            reduce_means(model)
            compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # it raises RuntimeError, and others while it converts the graph
            where = graph if isinstance(graph, str) else "the graph"
            raise EngineError(
                f"{where} cannot be loaded by OpenVINO: {_reason(error)}.",
                "It is damaged or needs another version: export the bundle again, or use --engine onnxruntime.",
            ) from error
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if taken != ("bf16" if bf16 else "f32"):
            raise EngineError(f"OpenVINO took {taken} where another precision was asked for.", "Use --engine openvino.")
        self._request: Any = compiled.create_infer_request()
        self.name = f"openvino cpu {'bf16' if bf16 else 'fp32'}"
        """Engine, device and the precision inside."""
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        """What `run` must be given, as the graph itself states it."""
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        """What `run` returns."""

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass: an array per input, of its type and a shape that fits; a fresh array per output.

        Raises:
            EngineError: the engine is closed, an input is missing, unknown or has another type or shape, or OpenVINO
                failed.
        """
        if self._request is None:
            raise EngineError("the engine is closed.", "Open it again.")
        check_feeds(self.inputs, feeds)
        try:
            results = self._request.infer({n: np.ascontiguousarray(a) for n, a in feeds.items()}, share_inputs=True)
            return {spec.name: np.array(results[spec.name]) for spec in self.outputs}
        except Exception as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise EngineError(
                f"OpenVINO failed on {shapes}: {_reason(error)}.", "Use smaller tiles or another shape."
            ) from error

    def close(self) -> None:
        """Frees the network; calling it twice is harmless."""
        self._request = None


@dataclasses.dataclass(frozen=True)
class OpenVinoOpener:
    """The opener of one precision."""

    bf16: bool
    """Whether bfloat16 is allowed inside."""

    def open(self, bundle: Bundle, iterations: int | None = None, threads: int | None = None) -> OpenVinoEngine:
        """Loads a bundle's graph.

        Args:
            bundle: what `open_bundle` returned.
            iterations: reasoning iterations; None for all that the graph has, fewer are cut out of it in memory.
            threads: as for the engine.

        Raises:
            ConfigError: iterations or threads below 1.
            EngineError: more iterations than the graph has, or a graph that cannot be loaded.
            MissingDependency: onnx is needed for fewer iterations and is not installed.
        """
        n = bundle.manifest.iterations if iterations is None else iterations
        return OpenVinoEngine(graph_of_iterations(bundle, n), threads, self.bf16)


FP32 = OpenVinoOpener(bf16=False)
"""float32 throughout."""
BF16 = OpenVinoOpener(bf16=True)
"""bfloat16 where the library likes."""


def _spec(port: Any) -> TensorSpec:
    shape = tuple(d.get_length() if d.is_static else "free" for d in port.get_partial_shape())
    dtype = port.get_element_type().get_type_name()
    return TensorSpec(port.get_any_name(), _DTYPES.get(dtype, dtype), shape)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ") or type(error).__name__
