"""The pycuda layer through doubles of pycuda and libcuda: neither can be imported without a driver."""

from __future__ import annotations

import ctypes
import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nafnet_deploy.engines.cuda import base
from nafnet_deploy.engines.cuda.cuda_python_layer import CudaPython
from nafnet_deploy.engines.cuda.driver_graphs import DriverGraphs
from nafnet_deploy.errors import EngineError, MachineError
from tests.cuda_double import NumpyCuda


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_") and callable(vars(cls)[name])}


class FakeDriver(types.ModuleType):
    """pycuda.driver, as far as the layer uses it (names as in pycuda 2026.1)."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.stack: list[Any] = []
        self.detached = 0
        self.freed: list[Any] = []
        self.copies: list[tuple[Any, ...]] = []
        outer = self

        class Error(Exception): ...

        class MemoryError(Error): ...

        class Context:
            def push(self) -> None:
                outer.stack.append(self)

            def pop(self) -> None:
                outer.stack.pop()

            def detach(self) -> None:
                outer.detached += 1

        class Device:
            count = staticmethod(lambda: 1)

            def __init__(self, number: int) -> None: ...

            def retain_primary_context(self) -> Context:
                return Context()

        class Allocation:
            def __init__(self, size: int) -> None:
                if size > 1000:
                    raise MemoryError("cuMemAlloc failed: out of memory")

            def __int__(self) -> int:
                return 4096

            def free(self) -> None:
                outer.freed.append("device")

        class Stream:
            handle = 7

            def __init__(self, flags: int) -> None:
                assert flags == 1

            def synchronize(self) -> None:
                raise Error("cuStreamSynchronize failed: an illegal memory access was encountered")

        class Event:
            def record(self, stream: Stream) -> None:
                assert isinstance(stream, Stream)

            def time_since(self, start: Event) -> float:
                return 2.5

        class Host:
            def free(self) -> None:
                outer.freed.append("host")

        class Pinned(np.ndarray):
            base = Host()  # type: ignore[assignment]

        self.Error, self.MemoryError, self.Device = Error, MemoryError, Device
        self.mem_alloc, self.Stream, self.Event = Allocation, Stream, Event
        self.init = lambda: None
        self.pagelocked_empty = lambda size, dtype: np.zeros(size, dtype).view(Pinned)
        self.memcpy_htod_async = lambda pointer, source, stream: self.copies.append((pointer, stream.handle))
        self.memcpy_dtoh_async = lambda target, pointer, stream: self.copies.append((stream.handle, pointer))
        self.memcpy_dtod_async = lambda target, source, size, stream: self.copies.append((target, source, size))


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    driver, package = FakeDriver(), types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(name=name))
    monkeypatch.delitem(sys.modules, "nafnet_deploy.engines.cuda.pycuda_layer", raising=False)
    yield driver
    sys.modules.pop("nafnet_deploy.engines.cuda.pycuda_layer", None)


def test_pycuda_is_preferred_and_works_in_the_primary_context(pycuda: FakeDriver) -> None:
    cuda = base.open_cuda()
    assert cuda.name == "pycuda"
    assert len(pycuda.stack) == 1
    pointer, stream, pinned = cuda.allocate(64), cuda.create_stream(), cuda.pinned(16)
    assert (pointer, stream, pinned.nbytes) == (4096, 7, 16)
    cuda.upload(pointer, pinned, stream)
    cuda.download(pinned, pointer, stream)
    cuda.copy(pointer, 8192, 16, stream)
    assert pycuda.copies == [(4096, 7), (7, 4096), (4096, 8192, 16)]
    start, end = cuda.create_event(), cuda.create_event()
    cuda.record(start, stream)
    assert cuda.elapsed_ms(start, end) == 2.5
    with pytest.raises(EngineError, match="illegal memory access"):
        cuda.synchronize(stream)
    with pytest.raises(EngineError, match="GPU memory"):
        cuda.allocate(5000)
    cuda.free(pointer)
    cuda.unpin(pinned)
    assert pycuda.freed == ["device", "host"]
    cuda.close()
    cuda.close()
    assert not pycuda.stack
    assert pycuda.detached == 1


def test_pycuda_without_a_gpu_is_the_machines_fault(pycuda: FakeDriver) -> None:
    def init() -> None:
        raise pycuda.Error("cuInit failed: no CUDA-capable device is detected")

    pycuda.init = init
    with pytest.raises(MachineError, match="no NVIDIA GPU"):
        base.open_cuda()


def test_both_layers_and_the_double_have_the_protocols_methods_with_its_parameters(pycuda: FakeDriver) -> None:
    layer = importlib.import_module("nafnet_deploy.engines.cuda.pycuda_layer").PyCuda
    for name in public(base.Cuda):
        wanted = list(inspect.signature(getattr(base.Cuda, name)).parameters)
        for cls in (CudaPython, NumpyCuda, layer):
            assert list(inspect.signature(getattr(cls, name)).parameters) == wanted, (cls, name)


class FakeLibcuda:
    """libcuda's graph functions: writes handles where the caller points, returns codes."""

    def __init__(self, **codes: int) -> None:
        self.codes, self.calls = codes, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            handles = {"cuStreamEndCapture": (1, 50), "cuGraphInstantiateWithFlags": (0, 90)}
            if name in handles:
                place, value = handles[name]
                arguments[place]._obj.value = value
            return self.codes.get(name, 0)

        return call


def test_graphs_are_recorded_through_libcuda() -> None:
    library = FakeLibcuda()
    graphs = DriverGraphs(library)
    graphs.begin(7)
    assert graphs.end(7) == 90
    graphs.launch(90, 7)
    graphs.destroy(90)
    assert library.calls == [
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


def test_a_refused_recording_is_an_error_and_leaves_no_graph() -> None:
    library = FakeLibcuda(cuGraphInstantiateWithFlags=1, cuGraphExecDestroy=1)
    with pytest.raises(EngineError, match="cuGraphInstantiateWithFlags with code 1"):
        DriverGraphs(library).end(7)
    assert library.calls[-1] == "cuGraphDestroy"
    DriverGraphs(library).destroy(1)
