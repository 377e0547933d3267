"""The parts of a split bundle in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.engines.onnxruntime_gpu import OnnxRuntimeCuda
from nafnet_deploy.engines.parts import PartStepper
from nafnet_deploy.manifest import HEAD, STEP, TAIL, Bundle


class OnnxRuntimeParts(PartStepper[ort.OrtValue]):
    """The parts as sessions of one ONNX Runtime provider, their tensors bound in its own memory.

    Args:
        bundle: a split bundle.
        kind: the engine class whose provider runs it.
        threads: threads inside an operator; None lets ONNX Runtime take one per core.

    Raises:
        EngineError: a graph is damaged, or ONNX Runtime cannot run it.
    """

    def __init__(self, bundle: Bundle, kind: type[OnnxRuntimeEngine], threads: int | None = None) -> None:
        super().__init__(bundle.manifest)
        self._engines = {name: kind(str(bundle.part(name)), threads, in_turns=True) for name in (HEAD, STEP, TAIL)}
        self.name = self._engines[HEAD].name
        """Engine and device."""

    def close(self) -> None:
        """Frees the sessions; calling it twice is harmless."""
        super().close()
        for engine in self._engines.values():
            engine.close()

    def _run(self, part: str, feeds: dict[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        return self._engines[part].run_bound(feeds)

    def _put(self, array: NDArray[Any]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(array, *self._engines[HEAD].memory)

    def _get(self, value: ort.OrtValue) -> NDArray[Any]:
        array: NDArray[Any] = value.numpy()
        return array

    def _shape(self, value: ort.OrtValue) -> tuple[int, ...]:
        return tuple(value.shape())


@dataclasses.dataclass(frozen=True)
class PartsOpener:
    """The opener of one provider."""

    kind: type[OnnxRuntimeEngine]
    """The engine class whose provider runs the parts."""

    def open(self, bundle: Bundle, threads: int | None = None) -> OnnxRuntimeParts:
        """Opens the parts of a split bundle; see `OnnxRuntimeParts`."""
        return OnnxRuntimeParts(bundle, self.kind, threads)


CPU = PartsOpener(OnnxRuntimeEngine)
"""ONNX Runtime on the CPU."""
CUDA = PartsOpener(OnnxRuntimeCuda)
"""ONNX Runtime's CUDA provider."""
