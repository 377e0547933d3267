"""What every engine is: named tensors in, named tensors out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import TensorSpec

Tensors = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """A loaded network, ready to run. A context manager: leaving it frees what it holds."""

    name: str
    """Engine and device as they really are, e.g. `onnxruntime cpu`."""
    inputs: tuple[TensorSpec, ...]
    """What `run` must be given."""
    outputs: tuple[TensorSpec, ...]
    """What `run` returns."""

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass.

        Args:
            feeds: a contiguous array per input, of the declared type and a shape that fits.

        Returns:
            A fresh array per output.

        Raises:
            EngineError: a shape or type the engine does not take.
        """
        ...

    def close(self) -> None:
        """Frees memory and devices; calling it twice is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing(abc.ABC):
    """What makes a context manager of a class with `close`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees what is held; calling it twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class SizeLimits:
    """The pictures that an engine was prepared for."""

    smallest: tuple[int, int]
    """Height and width (pixels)."""
    largest: tuple[int, int]
    """Height and width (pixels)."""


def size_limits(engine: Engine) -> SizeLimits | None:
    """The sizes an engine takes where its inputs say no number; None where it takes any.

    Engines that have such limits state them in an attribute `size_limits`; most have none.
    """
    limits: SizeLimits | None = getattr(engine, "size_limits", None)
    return limits


@dataclasses.dataclass(frozen=True)
class DeviceTimes:
    """What one forward pass takes on the device by its own clock (median ms over some runs); None: not offered."""

    upload_ms: float | None
    """Copy of the inputs to the device."""
    compute_ms: float | None
    """The network, its kernels queued one by one."""
    graph_ms: float | None
    """The network, replayed as a CUDA graph."""
    download_ms: float | None
    """Copy of the outputs to the host."""


def device_times(engine: Engine, feeds: Tensors, runs: int) -> DeviceTimes | None:
    """Times an engine by its device's clock; None where it has no such clock.

    Engines that have one offer a method `measure_device(feeds, runs)`.

    Raises:
        EngineError: see `Engine.run`.
    """
    measure = getattr(engine, "measure_device", None)
    times: DeviceTimes | None = None if measure is None else measure(feeds, runs)
    return times


def check_feeds(inputs: tuple[TensorSpec, ...], feeds: Tensors) -> None:
    """Refuses arrays that are not what an engine declared.

    Raises:
        EngineError: an input is missing, unknown or has another type or shape.
    """
    expected = {spec.name: spec for spec in inputs}
    if feeds.keys() != expected.keys():
        raise EngineError(f"the inputs {sorted(feeds)} were given, the graph takes {sorted(expected)}.")
    for name, array in feeds.items():
        spec = expected[name]
        fits = len(array.shape) == len(spec.shape) and all(
            want == got for want, got in zip(spec.shape, array.shape, strict=True) if isinstance(want, int)
        )
        if not fits or array.dtype != np.dtype(spec.dtype):
            raise EngineError(
                f"the input {name!r} must be {spec.dtype} {list(spec.shape)}, not {array.dtype} {list(array.shape)}.",
                "Pad or tile the picture to that shape, or export a dynamic graph with --imgsz dynamic.",
            )


def announce(engine: Engine, runs: int) -> None:
    """Tells an engine that counts per picture that a new one begins, and how many runs it takes: its tiles.

    Such engines have a method `announce`; most have none.
    """
    told = getattr(engine, "announce", None)
    if told is not None:
        told(runs)


def restore_batch(engine: Engine, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Runs an engine with one input and one output on [B, C, H, W] float32 and returns its output."""
    result = engine.run({engine.inputs[0].name: batch})
    return result[engine.outputs[0].name]
