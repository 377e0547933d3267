"""ONNX Runtime on the CPU; `onnxruntime_gpu` derives the engines of its other providers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import onnxruntime as ort
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, Tensors, check_feeds
from nafnet_deploy.engines.cut import graph_of_iterations
from nafnet_deploy.errors import ConfigError, EngineError, NafdeployError
from nafnet_deploy.manifest import Bundle, TensorSpec

# One Relu on one float32, made by onnx.helper: whether a provider starts must not hang on a user's graph.
TINY_GRAPH = (
    b'\x08\n:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)
_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxRuntimeEngine(Closing):
    """An ONNX graph in ONNX Runtime on the CPU. Satisfies the `Engine` protocol.

    Args:
        graph: path of an `.onnx` file, or the bytes of one.
        threads: threads inside an operator; None lets ONNX Runtime take one per core.
        profile: time every operator and keep the events in a file of this folder until `end_profile`.
        in_turns: whether other sessions of this process run right after this one. Every session has threads of its own,
            which spin for a while after a run, on the cores that the next session needs; here they stop at once.

    Raises:
        EngineError: the graph is damaged, or ONNX Runtime cannot run it on the CPU.
        ConfigError: fewer than 1 thread.
    """

    provider: ClassVar[str] = "CPUExecutionProvider"
    """What ONNX Runtime calls it."""
    device: ClassVar[str] = "cpu"
    """Ends the engine's name."""
    memory: ClassVar[tuple[str, int]] = ("cpu", 0)
    """Kind and number of the device that holds its tensors."""

    def __init__(
        self, graph: str | bytes, threads: int | None = None, profile: Path | None = None, *, in_turns: bool = False
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"{threads} threads are impossible.", "Use 1 or more.")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL_ONLY  # what goes wrong reaches the user as one exception
        options.intra_op_num_threads = threads or 0
        # From the second run of a shape on it would take one block for all activations, beside what the first run took:
        # twice the memory, for every shape anew, and no faster (1.00 times as long, at 256x256 and 512x512).
        options.enable_mem_pattern = False
        # On the CPU it plans which value takes over whose memory, in a time that grows with the square of the graph and
        # is most of what loading takes (0.6 of 0.7 s for denoise-light, 6.3 of 6.5 s for NAFSSR-T). Without that plan
        # the arena hands freed memory on all the same: the same picture bit for bit, as fast (0.99 to 1.01), in a fifth
        # less memory at the peak (1024x1024: 615 for 759 MB).
        options.enable_mem_reuse = self.provider != "CPUExecutionProvider"
        if in_turns:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile / "profile")
        try:
            session = self._start(graph, options)
        except NafdeployError:
            raise
        except Exception as error:  # its exception classes share no base but Exception
            where = graph if isinstance(graph, str) else "the graph"
            raise EngineError(
                f"{where} cannot be loaded by ONNX Runtime: {_reason(error)}.",
                "It is damaged or needs another version: export the bundle again.",
            ) from error
        session.disable_fallback()
        if (actual := session.get_providers()[0]) != self.provider:
            raise EngineError(
                f"ONNX Runtime took {actual} where {self.provider} was asked for.", "Reinstall onnxruntime."
            )
        self._session: ort.InferenceSession | None = session
        self.name = f"onnxruntime {self.device}"
        """Engine and device."""
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        """What `run` must be given, as the graph itself states it."""
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        """What `run` returns."""

    @classmethod
    def _start(cls, graph: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        return ort.InferenceSession(graph, options, providers=[cls.provider])

    @classmethod
    def try_out(cls) -> None:
        """Starts the provider on a tiny graph; whatever ONNX Runtime raises when it cannot."""
        cls._start(TINY_GRAPH, ort.SessionOptions())

    @classmethod
    def open(
        cls, bundle: Bundle, iterations: int | None = None, threads: int | None = None, profile: Path | None = None
    ) -> Self:
        """Loads a bundle's graph.

        Args:
            bundle: what `open_bundle` returned.
            iterations: reasoning iterations; None for all that the graph has, fewer are cut out of it in memory.
            threads: as for the class.
            profile: as for the class.

        Raises:
            ConfigError: iterations or threads below 1.
            EngineError: more iterations than the graph has, or a graph that cannot be loaded.
            MissingDependency: onnx is needed for fewer iterations and is not installed.
        """
        n = bundle.manifest.iterations if iterations is None else iterations
        return cls(graph_of_iterations(bundle, n), threads, profile)

    def end_profile(self) -> str:
        """Stops profiling and returns what the profiler wrote, JSON text; only for an engine opened with `profile`."""
        if self._session is None:
            raise EngineError("the engine is closed.", "Open it again.")
        written = Path(self._session.end_profiling())
        text = written.read_text(encoding="utf-8")
        written.unlink()
        return text

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass: an array per input, of its type and a shape that fits; a fresh array per output.

        Raises:
            EngineError: the engine is closed, an input is missing, unknown or has another type or shape, or
                ONNX Runtime failed.
        """
        if self._session is None:
            raise EngineError("the engine is closed.", "Open it again.")
        check_feeds(self.inputs, feeds)
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # its exception classes share no base but Exception
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise EngineError(
                f"ONNX Runtime failed on {shapes}: {_reason(error)}.", "Use smaller tiles or another shape."
            ) from error

    def run_bound(self, feeds: dict[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        """One forward pass from tensors to tensors in the engine's own memory, copying none.

        Args:
            feeds: a tensor per input, of its type and a shape that fits.

        Returns:
            A fresh tensor per output.

        Raises:
            EngineError: the engine is closed, or ONNX Runtime failed.
        """
        if self._session is None:
            raise EngineError("the engine is closed.", "Open it again.")
        try:
            binding = self._session.io_binding()
            for name, value in feeds.items():
                binding.bind_ortvalue_input(name, value)
            for spec in self.outputs:
                binding.bind_output(spec.name, *self.memory)
            self._session.run_with_iobinding(binding)
            return dict(zip([spec.name for spec in self.outputs], binding.get_outputs(), strict=True))
        except Exception as error:  # its exception classes share no base but Exception
            shapes = ", ".join(f"{name} {value.shape()}" for name, value in feeds.items())
            raise EngineError(
                f"ONNX Runtime failed on {shapes}: {_reason(error)}.", "Use smaller tiles or another shape."
            ) from error

    def close(self) -> None:
        """Frees the session; calling it twice is harmless."""
        self._session = None


def _spec(value: Any) -> TensorSpec:
    shape = tuple(d if isinstance(d, int) else str(d or "free") for d in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ") or type(error).__name__
