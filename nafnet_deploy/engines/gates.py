"""What the reasoning units let in: an engine whose output is the update gates' map instead of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, Tensors
from nafnet_deploy.engines.cut import check_iterations, cut_iterations, drop_unreachable
from nafnet_deploy.errors import EngineError, MissingDependency
from nafnet_deploy.manifest import Bundle, ModelManifest, TensorSpec

if TYPE_CHECKING:
    import onnx

    from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine

MAPS = 3
"""Channels of the output: a place each, as many as there are places for a unit."""


class GateEngine(Closing):
    """Runs the graph up to the gates of one iteration, on the CPU. Satisfies the `Engine` protocol.

    Its output [B, 3, H, W] has the input's size and value range, so that whatever tiles and blends pictures does the
    same with it: channel i is the mean over the channels of the gate at `places[i]`, black for 0 and white for 1,
    every value of the unit's coarser grid repeated over the pixels that it stands for. Channels without a place are
    black.
    """

    def __init__(self, engine: OnnxRuntimeEngine, places: tuple[str, ...], value_range: tuple[float, float]) -> None:
        self._engine, self._range = engine, value_range
        self.places = places
        """Where the gates sit, in the order they are run."""
        self.name = engine.name
        """Engine and device."""
        self.inputs = engine.inputs
        """What `run` must be given."""
        shape = ("batch", MAPS, *engine.inputs[0].shape[2:])
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("gates", "float32", shape),)
        """What `run` returns."""

    @classmethod
    def open(cls, bundle: Bundle, iteration: int, threads: int | None = None) -> Self:
        """Cuts the graph after an iteration and keeps what leads to its gates.

        Args:
            bundle: what `open_bundle` returned.
            iteration: 1 to the graph's iterations; every unit stops there, as it does for the picture of that number.
            threads: CPU threads; None lets ONNX Runtime take one per core.

        Raises:
            ConfigError: iteration or threads below 1.
            EngineError: the graph has fewer iterations or no gates, or cannot be loaded.
            MissingDependency: onnx or ONNX Runtime is not installed.
        """
        try:
            import onnx

            from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
        except ImportError as error:
            raise MissingDependency(error.name or "onnx", "cpu", "to look at the gates inside a graph") from error
        path = bundle.unrolled("to read its gates")
        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's error class depends on its implementation
            raise EngineError(f"{bundle.graph} is not a readable ONNX file.", "Export the bundle again.") from error
        check_iterations(bundle.manifest, iteration)
        gates = gate_values(model, bundle.manifest, iteration)
        if not gates:
            raise EngineError(f"the graph of {bundle.manifest.name} has no gates to look at.")
        short = cut_iterations(model, bundle.manifest, iteration)
        graph = short.graph
        del graph.output[:]
        for place, value in gates.items():
            graph.node.append(onnx.helper.make_node("Cast", [value], [f"{place}.single"], to=onnx.TensorProto.FLOAT))
            axes = onnx.numpy_helper.from_array(np.array([1]), f"{place}.axes")
            graph.initializer.append(axes)
            graph.node.append(onnx.helper.make_node("ReduceMean", [f"{place}.single", axes.name], [f"{place}.gate"]))
            graph.output.append(onnx.helper.make_tensor_value_info(f"{place}.gate", onnx.TensorProto.FLOAT, None))
        drop_unreachable(graph)
        return cls(OnnxRuntimeEngine(short.SerializeToString(), threads), tuple(gates), bundle.manifest.value_range)

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass; see `Engine.run`.

        Raises:
            EngineError: as for `OnnxRuntimeEngine`, or a gate whose grid does not divide the input's.
        """
        height, width = feeds[self.inputs[0].name].shape[2:]
        found = self._engine.run(feeds)
        maps = np.zeros((feeds[self.inputs[0].name].shape[0], MAPS, height, width), np.float32)
        for i, place in enumerate(self.places):
            gate = found[f"{place}.gate"]
            if gate.ndim != 4 or height % gate.shape[2] or width % gate.shape[3]:
                raise EngineError(f"the gate at {place!r} has the shape {list(gate.shape)}, which fits no picture.")
            down, across = height // gate.shape[2], width // gate.shape[3]
            maps[:, i] = gate[:, 0].repeat(down, axis=1).repeat(across, axis=2)
        black, white = self._range
        return {self.outputs[0].name: maps * np.float32(white - black) + np.float32(black)}

    def close(self) -> None:
        """Frees the session; calling it twice is harmless."""
        self._engine.close()


def gate_values(model: onnx.ModelProto, manifest: ModelManifest, iteration: int) -> dict[str, str]:
    """The graph value of the update gate of one iteration, per place, in the order the places are run.

    The gate is the last sigmoid that an iteration's features depend on and no earlier iteration's do; the body of
    these networks has none. A place without one is left out.
    """
    nodes = list(model.graph.node)
    order = {name: i for i, node in enumerate(nodes) for name in node.output}
    values = {place: v for place, v in manifest.iteration_values.items() if all(name in order for name in v)}
    gates: dict[str, str] = {}
    seen: set[int] = set()
    # the manifest sorts its places by name; the graph knows in which order they are run
    for place in sorted(values, key=lambda p: order[values[p][0]]):
        for number, name in enumerate(values[place], 1):
            sigmoids = [i for i in _ancestors(nodes, order, name, seen) if nodes[i].op_type == "Sigmoid"]
            if sigmoids and number == iteration:
                gates[place] = nodes[max(sigmoids)].output[0]
    return gates


def _ancestors(nodes: list[onnx.NodeProto], order: dict[str, int], value: str, seen: set[int]) -> list[int]:
    """Indices of the nodes that a value depends on and that are not yet in `seen`, which takes them up."""
    found, waiting = [], [value]
    while waiting:
        index = order.get(waiting.pop(), -1)
        if index >= 0 and index not in seen:
            seen.add(index)
            found.append(index)
            waiting.extend(nodes[index].input)
    return found
