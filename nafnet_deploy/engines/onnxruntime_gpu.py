"""ONNX Runtime's GPU providers. Each computes the whole graph or refuses: none falls back to the CPU.

ONNX Runtime lists providers that cannot load and turns a session for one into a session on the CPU without a word.
Against that: the provider alone, no CPU for any node, no fallback in its Python wrapper, and a look at what it took.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime as ort

from nafnet_deploy.engines.build import cache_folder
from nafnet_deploy.engines.onnxruntime import TINY_GRAPH, OnnxRuntimeEngine
from nafnet_deploy.engines.probe import fault_of
from nafnet_deploy.errors import EngineError, MachineError
from nafnet_deploy.manifest import sha256_of_bytes

REINSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'nafnet-deploy[gpu]'"
"""onnxruntime and onnxruntime-gpu overwrite each other's files, so the first must go before the second comes."""
_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_WARNINGS, _FATAL_ONLY = 2, 4


class OnnxRuntimeCuda(OnnxRuntimeEngine):
    """The CUDA provider: cuDNN and cuBLAS, compiled for nothing in particular, at once ready.

    Raises:
        MachineError: the provider is not installed or does not start on this machine.
        EngineError: the graph is damaged, or holds operators that the provider does not compute.
        ConfigError: fewer than 1 thread.
    """

    provider: ClassVar[str] = "CUDAExecutionProvider"
    device: ClassVar[str] = "cuda"
    memory: ClassVar[tuple[str, int]] = ("cuda", 0)
    mend: ClassVar[str] = f"Install CUDA, cuDNN and the GPU package: {REINSTALL}"
    """What brings it."""

    @classmethod
    def _start(cls, graph: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        cls._check_installed()
        try:
            with _quiet():
                return cls._session(graph, options)
        except Exception as error:  # its exception classes share no base but Exception
            # The exception only says that nothing was left but the CPU. Is it the machine, or is it this graph?
            if reason := cls.fault():
                raise MachineError(f"the {cls.provider} does not start: {reason}.", cls.mend) from error
            raise EngineError(
                f"the {cls.provider} does not compute the whole graph: {' '.join(str(error).split())[:200]}.",
                "Use --engine onnxruntime, or export the bundle again.",
            ) from error

    @classmethod
    def fault(cls) -> str:
        """Why the provider does not start on this machine, tried in another process; empty when it does."""
        return fault_of(f"from {__name__} import {cls.__name__} as engine; engine.try_out()")

    @classmethod
    def try_out(cls) -> None:
        """Starts the provider on a tiny graph and lets ONNX Runtime say on stderr what it cannot load."""
        session = cls._session(TINY_GRAPH, ort.SessionOptions())
        if session.get_providers()[0] != cls.provider:
            raise MachineError(f"ONNX Runtime took {session.get_providers()[0]} instead", cls.mend)

    @classmethod
    def _check_installed(cls) -> None:
        if cls.provider not in ort.get_available_providers():
            raise MachineError(f"this onnxruntime was built without the {cls.provider}.", cls.mend)

    @classmethod
    def _session(cls, graph: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if hasattr(ort, "preload_dlls"):  # 1.21: finds the CUDA and cuDNN wheels
            ort.preload_dlls()
        return ort.InferenceSession(graph, options, providers=[(cls.provider, cls._options(graph))], enable_fallback=0)

    @classmethod
    def _options(cls, graph: str | bytes) -> dict[str, str]:
        # TF32 keeps 10 of 23 bits of an FP32 graph's mantissas, by default and without a word.
        return {"use_tf32": "0"}


class OnnxRuntimeTensorRT(OnnxRuntimeCuda):
    """The TensorRT provider: builds a plan when it meets a shape, and keeps it in the user's cache."""

    provider: ClassVar[str] = "TensorrtExecutionProvider"
    device: ClassVar[str] = "tensorrt"
    mend: ClassVar[str] = f"Install TensorRT 10 (pip install 'tensorrt-cu13<11') and the GPU package: {REINSTALL}"

    @classmethod
    def _session(cls, graph: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        with contextlib.suppress(Exception):  # loads libnvinfer for the provider where pip installed it
            importlib.import_module("tensorrt")
        return super()._session(graph, options)

    @classmethod
    def _options(cls, graph: str | bytes) -> dict[str, str]:
        # a folder for each graph: the provider's own names of plans do not tell weights apart
        content = graph if isinstance(graph, bytes) else Path(graph).read_bytes()
        folder = cache_folder().with_name("onnxruntime-tensorrt") / sha256_of_bytes(content)[:16]
        with contextlib.suppress(OSError):  # without a cache it builds every time
            folder.mkdir(parents=True, exist_ok=True)
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}


class OnnxRuntimeRtx(OnnxRuntimeCuda):
    """The TensorRT-RTX provider: a plug-in of its own package for the plain onnxruntime, with the library inside."""

    provider: ClassVar[str] = "NvTensorRTRTXExecutionProvider"
    device: ClassVar[str] = "nv-tensorrt-rtx"
    mend: ClassVar[str] = "It needs a driver for CUDA 13 and: pip install onnxruntime-ep-nv-tensorrt-rtx"

    @classmethod
    def _check_installed(cls) -> None:
        if importlib.util.find_spec(_PLUGIN) is None:
            raise MachineError(f"{_PLUGIN} is needed by the {cls.provider} and is not installed.", cls.mend)

    @classmethod
    def _session(cls, graph: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        plugin = importlib.import_module(_PLUGIN)
        if not _devices(cls.provider):  # once per process
            ort.register_execution_provider_library(cls.provider, plugin.get_library_path())
        devices = _devices(cls.provider)
        if not devices:
            raise MachineError(f"the {cls.provider} finds no GPU that it serves.", cls.mend)
        options.add_provider_for_devices(devices[:1], {})
        return ort.InferenceSession(graph, options, enable_fallback=0)


def _devices(provider: str) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == provider]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps ONNX Runtime's chatter off the terminal: its wrapper prints to stdout, where our JSON goes."""
    ort.set_default_logger_severity(_FATAL_ONLY)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        ort.set_default_logger_severity(_WARNINGS)
