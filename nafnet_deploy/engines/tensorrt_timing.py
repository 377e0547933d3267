"""Times a bound TensorRT context by CUDA events: copies, kernels and the CUDA graph apart.

No GPU has run this so far: the tests prove the calls and their order against doubles.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from nafnet_deploy.engines.base import DeviceTimes, Tensors
from nafnet_deploy.engines.cuda.base import Cuda
from nafnet_deploy.engines.tensorrt_buffers import Buffers
from nafnet_deploy.errors import EngineError


def measure(
    cuda: Cuda,
    stream: int,
    events: tuple[int, int],
    buffers: Buffers,
    feeds: Tensors,
    outputs: tuple[str, ...],
    execute: Callable[[int], bool],
    graph: int | None,
    runs: int,
) -> DeviceTimes:
    """Medians of the device's own clock over some runs.

    Args:
        cuda: the GPU.
        stream: where everything is queued.
        events: two marks.
        buffers: memory that fits `feeds` and `outputs`.
        feeds: the inputs.
        outputs: names of the outputs.
        execute: queues the kernels one by one; False when the library refuses.
        graph: the same work as a CUDA graph; None where there is none.
        runs: 1 or more.

    Raises:
        EngineError: CUDA or the library failed.
    """

    def upload() -> None:
        for name, array in feeds.items():
            buffers.upload(name, array, stream)

    def kernels() -> None:
        if not execute(stream):
            raise EngineError("TensorRT refused to run.", "Look with: nafdeploy doctor")

    def download() -> None:
        for name in outputs:
            buffers.download(name, stream)

    def timed(work: Callable[[], None]) -> float:
        start, end = events
        cuda.record(start, stream)
        work()
        cuda.record(end, stream)
        cuda.synchronize(stream)
        return cuda.elapsed_ms(start, end)

    stages: dict[str, Callable[[], None]] = {"upload": upload, "compute": kernels, "download": download}
    if graph is not None:
        stages["graph"] = lambda: cuda.launch(graph, stream)
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(runs):
        for name, work in stages.items():
            times[name].append(timed(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return DeviceTimes(medians["upload"], medians["compute"], medians.get("graph"), medians["download"])


def layers_json(library: Any, engine: Any) -> str:
    """The layers of a plan as its inspector lists them, JSON text.

    Raises:
        EngineError: the library has no inspector, or it says nothing.
    """
    try:
        text = str(engine.create_engine_inspector().get_engine_information(library.LayerInformationFormat.JSON))
    except AttributeError as error:
        raise EngineError(
            f"this library does not list the layers of a plan: {error}.", "Leave --profile out."
        ) from error
    if not text:
        raise EngineError("the library lists no layers for this plan.", "Leave --profile out.")
    return text
