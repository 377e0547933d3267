"""The two memory layers: cuda-python's own names on a CPU, pycuda through a double (it cannot be imported here)."""

from __future__ import annotations

import ast
import ctypes
import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.bindings import runtime as cudart

from nafnet_deploy.engines.cuda import base, cuda_python_layer
from nafnet_deploy.engines.cuda.cuda_python_layer import CudaPython
from nafnet_deploy.engines.cuda.driver_graphs import DriverGraphs
from nafnet_deploy.errors import EngineError, MachineError
from tests.cuda_double import NumpyCuda

OK = cudart.cudaError_t.cudaSuccess


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_") and callable(vars(cls)[name])}


def test_every_function_of_the_runtime_that_is_called_exists() -> None:
    tree = ast.parse(Path(cuda_python_layer.__file__).read_text())
    named = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("cuda")
    } - {"cuda-python", "cuda-bindings "}
    assert len(named) >= 20
    for name in sorted(named):
        assert callable(getattr(cudart, name)), name


def test_handles_and_addresses_may_be_plain_integers() -> None:
    """Without a driver the calls fail, but only after their arguments were understood."""
    kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    for function, arguments in (
        (cudart.cudaFree, (4096,)),
        (cudart.cudaFreeHost, (4096,)),
        (cudart.cudaMemcpyAsync, (4096, np.zeros(4).ctypes.data, 32, kind, 7)),
        (cudart.cudaStreamSynchronize, (7,)),
        (cudart.cudaEventRecord, (8, 7)),
        (cudart.cudaGraphLaunch, (9, 7)),
    ):
        assert function(*arguments)[0] in (
            cudart.cudaError_t.cudaErrorInsufficientDriver,
            cudart.cudaError_t.cudaErrorInvalidValue,
            cudart.cudaError_t.cudaErrorInvalidResourceHandle,
            cudart.cudaError_t.cudaErrorNoDevice,
        )


class FakeRuntime:
    """cudart's functions, each returning (error, value)."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.calls = answers, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda") or name in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
            return getattr(cudart, name)
        if name in ("cudaGetErrorString", "cudaStreamNonBlocking"):
            return getattr(cudart, name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            return tuple(self.answers.get(name, (OK, 1)))

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    runtime = FakeRuntime(cudaDriverGetVersion=(OK, 13000), cudaSetDevice=(OK,))
    monkeypatch.setattr(cuda_python_layer, "cudart", runtime)
    return runtime


def test_cuda_python_asks_the_runtime_for_what_the_protocol_promises(fake: FakeRuntime) -> None:
    cuda = CudaPython()
    fake.answers.update(cudaMalloc=(OK, 4096), cudaStreamCreateWithFlags=(OK, 7), cudaEventElapsedTime=(OK, 2.5))
    fake.answers.update(cudaStreamEndCapture=(OK, 5), cudaGraphInstantiate=(OK, 9))
    memory = np.zeros(16, np.uint8)
    fake.answers["cudaHostAlloc"] = (OK, memory.ctypes.data)
    pinned = cuda.pinned(16)
    pinned[:] = 3
    assert (memory == 3).all()
    assert cuda.allocate(64) == 4096
    stream = cuda.create_stream()
    cuda.upload(4096, pinned, stream)
    cuda.download(pinned, 4096, stream)
    assert cuda.elapsed_ms(1, 2) == 2.5
    cuda.begin_capture(stream)
    assert cuda.end_capture(stream) == 9
    cuda.unpin(pinned)
    cuda.free(4096)
    kinds = cudart.cudaMemcpyKind
    address = memory.ctypes.data
    assert ("cudaMemcpyAsync", 4096, address, 16, kinds.cudaMemcpyHostToDevice, 7) in fake.calls
    assert ("cudaMemcpyAsync", address, 4096, 16, kinds.cudaMemcpyDeviceToHost, 7) in fake.calls
    assert ("cudaGraphDestroy", 5) in fake.calls
    assert ("cudaFreeHost", address) in fake.calls


def test_too_little_gpu_memory_names_the_size_and_a_smaller_tile(fake: FakeRuntime) -> None:
    cuda = CudaPython()
    fake.answers["cudaMalloc"] = (cudart.cudaError_t.cudaErrorMemoryAllocation, None)
    with pytest.raises(EngineError, match="5 MB of GPU memory") as caught:
        cuda.allocate(5_000_000)
    assert "--tile" in caught.value.mend
    assert fake.calls[-1] == ("cudaGetLastError",)


def test_a_failing_call_is_named_and_a_failing_release_is_silent(fake: FakeRuntime) -> None:
    cuda = CudaPython()
    wrong = (cudart.cudaError_t.cudaErrorIllegalAddress, None)
    fake.answers.update(cudaStreamSynchronize=wrong, cudaFree=wrong, cudaStreamDestroy=wrong)
    with pytest.raises(EngineError, match="cudaStreamSynchronize: cudaErrorIllegalAddress"):
        cuda.synchronize(7)
    cuda.free(1)
    cuda.destroy_stream(7)


@pytest.mark.parametrize(
    ("version", "error", "count", "words"),
    [
        (0, "cudaErrorInsufficientDriver", None, "no NVIDIA GPU"),
        (12040, "cudaErrorInsufficientDriver", None, "serves CUDA 12.4 and cuda-bindings"),
        (13000, "cudaErrorNoDevice", None, "no NVIDIA GPU"),
        (13000, "cudaSuccess", 0, "no NVIDIA GPU"),
    ],
    ids=["no driver", "an old driver", "no device", "zero devices"],
)
def test_what_is_missing_is_the_machines_fault(
    fake: FakeRuntime, version: int, error: str, count: int | None, words: str
) -> None:
    fake.answers.update(
        cudaDriverGetVersion=(OK, version), cudaGetDeviceCount=(getattr(cudart.cudaError_t, error), count)
    )
    with pytest.raises(MachineError, match=words):
        CudaPython()


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
    assert pycuda.copies == [(4096, 7), (7, 4096)]
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


def test_cuda_python_steps_in_where_pycuda_cannot_be_imported(fake: FakeRuntime) -> None:
    assert base.open_cuda().name == "cuda-python"


def test_without_any_package_both_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "LAYERS", {"pycuda": "nowhere_one:X", "cuda-python": "nowhere_two:Y"})
    with pytest.raises(MachineError) as caught:
        base.open_cuda()
    assert "nowhere_one" in caught.value.message
    assert "pip install cuda-bindings" in caught.value.mend
    assert "pip install pycuda" in caught.value.mend


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
