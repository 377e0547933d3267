"""The two memory layers: cuda-python's own names on a CPU, pycuda through a double (it cannot be imported here)."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.bindings import runtime as cudart

from nafnet_deploy.engines.cuda import base, cuda_python_layer
from nafnet_deploy.engines.cuda.cuda_python_layer import CudaPython
from nafnet_deploy.errors import EngineError, MachineError

OK = cudart.cudaError_t.cudaSuccess


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
    cuda.copy(4096, 8192, 16, stream)
    assert cuda.elapsed_ms(1, 2) == 2.5
    cuda.begin_capture(stream)
    assert cuda.end_capture(stream) == 9
    cuda.unpin(pinned)
    cuda.free(4096)
    kinds = cudart.cudaMemcpyKind
    address = memory.ctypes.data
    assert ("cudaMemcpyAsync", 4096, address, 16, kinds.cudaMemcpyHostToDevice, 7) in fake.calls
    assert ("cudaMemcpyAsync", address, 4096, 16, kinds.cudaMemcpyDeviceToHost, 7) in fake.calls
    assert ("cudaMemcpyAsync", 4096, 8192, 16, kinds.cudaMemcpyDeviceToDevice, 7) in fake.calls
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


def test_cuda_python_steps_in_where_pycuda_cannot_be_imported(fake: FakeRuntime) -> None:
    assert base.open_cuda().name == "cuda-python"


def test_without_any_package_both_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "LAYERS", {"pycuda": "nowhere_one:X", "cuda-python": "nowhere_two:Y"})
    with pytest.raises(MachineError) as caught:
        base.open_cuda()
    assert "nowhere_one" in caught.value.message
    assert "pip install cuda-bindings" in caught.value.mend
    assert "pip install pycuda" in caught.value.mend
