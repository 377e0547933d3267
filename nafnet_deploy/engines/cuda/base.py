"""Device memory, streams, events and graphs: all that a runner needs of CUDA, behind one small interface.

Two packages serve it: pycuda (the user's choice: an sdist that needs nvcc) and cuda-python (wheels). Both work in the
device's primary context, the one that torch and ONNX Runtime use, so pointers may be shared with them.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import MachineError


class Cuda(Protocol):
    """The first GPU that CUDA shows. Pointers and handles are integers, as TensorRT takes them.

    An instance belongs to the thread that opened it. `EngineError` when CUDA fails; whatever frees something never
    raises, for it also runs while an error is on its way.
    """

    name: str
    """The package behind it, e.g. `cuda-python`."""

    def allocate(self, size: int) -> int:
        """Device memory of `size` bytes, 1 or more; its address."""
        ...

    def free(self, pointer: int) -> None:
        """Gives back what `allocate` returned."""
        ...

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory of `size` bytes, which copies need to run asynchronously."""
        ...

    def unpin(self, array: NDArray[np.uint8]) -> None:
        """Gives back what `pinned` returned; no view of it may be touched afterwards."""
        ...

    def upload(self, pointer: int, source: NDArray[Any], stream: int) -> None:
        """Queues a copy of a contiguous array to the device."""
        ...

    def download(self, target: NDArray[Any], pointer: int, stream: int) -> None:
        """Queues a copy from the device into a contiguous array."""
        ...

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Queues a copy of `size` bytes inside the device; the two must not overlap."""
        ...

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        ...

    def synchronize(self, stream: int) -> None:
        """Waits until all work in the stream is done."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Gives back a stream."""
        ...

    def create_event(self) -> int:
        """A mark with a time."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Queues a mark."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Device time between two marks that were passed (ms)."""
        ...

    def destroy_event(self, event: int) -> None:
        """Gives back an event."""
        ...

    def begin_capture(self, stream: int) -> None:
        """Records what is queued in the stream from here on, instead of running it."""
        ...

    def end_capture(self, stream: int) -> int:
        """Ends the recording, also a failed one; an executable graph."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Queues a recorded graph."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Gives back a graph."""
        ...

    def close(self) -> None:
        """Lets go of the device; calling it twice is harmless."""
        ...


class _Layer(Protocol):
    def __call__(self) -> Cuda: ...


LAYERS = {
    "pycuda": "nafnet_deploy.engines.cuda.pycuda_layer:PyCuda",
    "cuda-python": "nafnet_deploy.engines.cuda.cuda_python_layer:CudaPython",
}
"""Package -> `module:class`, the preferred first."""


def open_cuda() -> Cuda:
    """The first layer whose package can be imported, on the first GPU.

    Raises:
        MachineError: neither package can be imported, there is no driver or no GPU, or the driver is too old.
    """
    reasons = []
    for package, target in LAYERS.items():
        module, _, attribute = target.partition(":")
        try:
            layer = cast(_Layer, getattr(importlib.import_module(module), attribute))
        except ImportError as error:  # pycuda also raises it where there is no driver
            reasons.append(f"{package}: {error}")
            continue
        return layer()
    raise MachineError(
        f"no package for GPU memory can be imported ({'; '.join(reasons)}).",
        "Install one with: pip install cuda-bindings (or pip install pycuda, which needs nvcc).",
    )


def driver_too_old(serves: str, needed: str) -> MachineError:
    """What to say when the driver cannot serve a package.

    Args:
        serves: the newest CUDA version that the driver knows, e.g. `12.4`.
        needed: what asks for more, e.g. `tensorrt_rtx for CUDA 13`.
    """
    return MachineError(
        f"the NVIDIA driver serves CUDA {serves} and {needed} needs a newer one.",
        "Update the driver, or install the packages for that CUDA version. Look with: nafdeploy doctor",
    )


def no_gpu() -> MachineError:
    """What to say when there is no device to open."""
    return MachineError(
        "no NVIDIA GPU can be used here: there is no driver, or it shows no device.",
        "Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --engine onnxruntime. Look with: nafdeploy doctor",
    )
