"""What this machine can do: packages, driver, GPU, providers, TensorRT. Tried, not read from lists."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from nafnet_deploy.engines.driver import LocalGpu, local_gpu
from nafnet_deploy.engines.flavour import FLAVOURS, cuda_of_wheel
from nafnet_deploy.engines.probe import fault_of
from nafnet_deploy.environment import Environment, read_environment
from nafnet_deploy.tables import plain

REINSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'nafnet-deploy[{}]'"
"""onnxruntime and onnxruntime-gpu overwrite each other's files: both must go before one comes."""
CPUINFO = Path("/proc/cpuinfo")
_CPU_FLAGS = {
    "avx2": "fast fp32",
    "avx512f": "faster fp32",
    "avx512_vnni": "fast int8",
    "avx_vnni": "fast int8",
    "avx512_bf16": "fast bf16",
    "amx_bf16": "fastest bf16",
    "asimd": "fast fp32 (ARM)",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    area: str
    """`package`, `driver`, `gpu`, `provider`, `tensorrt`, `memory layer` or `cpu`."""
    name: str
    """What it is."""
    state: str
    """`ok`, `missing` (something more could be installed) or `broken` (installed, and does not work)."""
    detail: str
    """Version or reason."""
    mend: str = ""
    """The exact command, or what else to do; empty where nothing is to be done."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Truthy when nothing is broken. A piece that is merely missing breaks nothing."""

    environment: Environment
    """The machine and its packages."""
    gpu: LocalGpu | None
    """The first GPU, as the driver shows it."""
    findings: tuple[Finding, ...]
    """In the order of the table."""

    def __bool__(self) -> bool:
        return not self.broken

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What is installed and does not work."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    def to_json(self) -> str:
        """The diagnosis as JSON text, with `ok` for the whole."""
        return json.dumps({"ok": bool(self), **plain(self)}, indent=1) + "\n"


def diagnose(on_step: Callable[[str], None] = lambda name: None) -> Diagnosis:
    """Looks at everything. What may crash is tried in processes of its own, a second or so each.

    Args:
        on_step: told what is looked at next.
    """
    findings: list[Finding] = []
    gpu = local_gpu()
    for name, look in (
        ("packages", _packages),
        ("driver", lambda: _driver(gpu)),
        ("ONNX Runtime", lambda: _providers(gpu)),
        ("OpenVINO", _openvino),
        ("TensorRT", lambda: _tensorrt(gpu)),
        ("GPU memory", lambda: _layers(gpu)),
        ("processor", _processor),
    ):
        on_step(name)
        findings += look()
    return Diagnosis(read_environment(), gpu, tuple(findings))


def version_of(*packages: str) -> str:
    """Version of the first of these distributions that is installed; empty when none is."""
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def _packages() -> Iterator[Finding]:
    for package, extra in (("numpy", ""), ("pillow", ""), ("onnx", "cpu"), ("torch", "export")):
        version = version_of(package)
        mend = "" if version or not extra else f"pip install 'nafnet-deploy[{extra}]'"
        yield Finding("package", package, "ok" if version else "missing", version or "not installed", mend)


def _driver(gpu: LocalGpu | None) -> Iterator[Finding]:
    if gpu is not None:
        version = _nvidia_smi()
        yield Finding("driver", "NVIDIA driver", "ok", f"{version + ', ' if version else ''}serves CUDA {gpu.cuda}")
        yield Finding("gpu", gpu.name, "ok", f"{gpu.capability}, {gpu.memory_gib:.0f} GiB")
        return
    if Path("/proc/driver/nvidia/version").exists():
        mend = "Check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all"
        yield Finding("driver", "NVIDIA driver", "broken", "loaded, and CUDA shows no GPU", mend)
        return
    yield Finding(
        "driver", "NVIDIA driver", "missing", "no driver; engines on the CPU work", "https://www.nvidia.com/drivers"
    )


def _nvidia_smi() -> str:
    """The driver's own version, which CUDA does not tell; empty where nvidia-smi does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else ""


def _providers(gpu: LocalGpu | None) -> Iterator[Finding]:
    plain_version, gpu_version = version_of("onnxruntime"), version_of("onnxruntime-gpu")
    if not plain_version and not gpu_version:
        yield Finding("provider", "onnxruntime", "missing", "not installed", "pip install 'nafnet-deploy[cpu]'")
        return
    if plain_version and gpu_version:
        detail = f"onnxruntime {plain_version} and onnxruntime-gpu {gpu_version} overwrite each other's files"
        yield Finding("package", "onnxruntime", "broken", detail, REINSTALL.format("gpu" if gpu else "cpu"))
    fault = fault_of("from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine as engine; engine.try_out()")
    mend = REINSTALL.format("gpu" if gpu_version else "cpu") if fault else ""
    version = plain_version or gpu_version
    yield Finding("provider", "onnxruntime", "broken" if fault else "ok", fault or version, mend)
    if fault:
        return
    for name, engine, package in (
        ("onnxruntime-cuda", "OnnxRuntimeCuda", "onnxruntime-gpu"),
        ("onnxruntime-tensorrt", "OnnxRuntimeTensorRT", "onnxruntime-gpu"),
        ("onnxruntime-nv-tensorrt-rtx", "OnnxRuntimeRtx", "onnxruntime-ep-nv-tensorrt-rtx"),
    ):
        yield _provider(name, engine, package, gpu)


def _provider(name: str, engine: str, package: str, gpu: LocalGpu | None) -> Finding:
    installed = version_of(package, f"{package}-cu13", f"{package}-cu12")
    if not installed:
        swap = package == "onnxruntime-gpu"
        command = REINSTALL.format("gpu") if swap else f"pip install {package}"
        mend = command if gpu is not None else f"On a machine with an NVIDIA GPU: {command}"
        return Finding("provider", name, "missing", f"{package} is not installed", mend)
    fault = fault_of(f"from nafnet_deploy.engines.onnxruntime_gpu import {engine} as engine; engine.try_out()")
    if not fault:
        return Finding("provider", name, "ok", f"{package} {installed}, starts")
    if gpu is None:  # nothing is wrong with it: there is no GPU to start on
        return Finding("provider", name, "missing", f"listed, does not start: {fault}")
    # TensorRT's own libraries are one more package, so a TensorRT provider without them is not at fault.
    state = "missing" if name == "onnxruntime-tensorrt" and not version_of("tensorrt") else "broken"
    mend = "pip install 'tensorrt-cu13<11'" if state == "missing" else f"pip install --force-reinstall {package}"
    return Finding("provider", name, state, f"listed, does not start: {fault}", mend)


def _openvino() -> Iterator[Finding]:
    mend = "pip install 'nafnet-deploy[openvino]'"
    if not (version := version_of("openvino")):
        yield Finding("provider", "openvino", "missing", "not installed; the fastest engine on the CPU", mend)
        return
    fault = fault_of("import openvino; openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')")
    again = "pip install --force-reinstall openvino"
    yield Finding("provider", "openvino", "broken" if fault else "ok", fault or version, again if fault else "")


def _tensorrt(gpu: LocalGpu | None) -> Iterator[Finding]:
    for target, flavour in FLAVOURS.items():
        install = f"pip install 'nafnet-deploy[{target}]'"
        installed = version_of(flavour.package.replace("_", "-"))
        if not installed:
            yield Finding("tensorrt", target, "missing", "not installed", install)
            continue
        fault = fault_of(f"from nafnet_deploy.engines.flavour import load_library; load_library({target!r})")
        if fault:
            yield Finding("tensorrt", target, "broken", fault, f"{install} --force-reinstall")
            continue
        cuda = cuda_of_wheel(target)
        if gpu is not None and cuda and int(gpu.cuda.split(".")[0]) < int(cuda):
            detail = f"{installed} needs CUDA {cuda} and the driver serves {gpu.cuda}"
            yield Finding("tensorrt", target, "broken", detail, f"Update the driver to one that serves CUDA {cuda}")
            continue
        does = "builds plans; to run them it needs a GPU" if gpu is None else "builds and runs plans"
        yield Finding("tensorrt", target, "ok", f"{installed}, {does}")


def _layers(gpu: LocalGpu | None) -> Iterator[Finding]:
    found = {package: version_of(package) for package in ("pycuda", "cuda-bindings")}
    for package, module in (("pycuda", "pycuda.driver"), ("cuda-bindings", "cuda.bindings.runtime")):
        if not found[package]:
            detail = "not installed; the other one serves" if any(found.values()) else "not installed"
            yield Finding("memory layer", package, "missing", detail, f"pip install {package}")
            continue
        fault = fault_of(f"import {module}")
        # pycuda cannot even be imported without a driver: that is no fault of its own.
        state = "ok" if not fault else "missing" if gpu is None else "broken"
        mend = f"pip install --force-reinstall {package}" if state == "broken" else ""
        yield Finding("memory layer", package, state, fault or found[package], mend)


def _processor() -> Iterator[Finding]:
    flags = _cpu_flags()
    has = [f"{flag} ({use})" for flag, use in _CPU_FLAGS.items() if flag in flags]
    detail = ", ".join(has) if flags else "the system does not name them"
    yield Finding("cpu", platform.machine(), "ok", detail or "none of those that matter")


def _cpu_flags() -> frozenset[str]:
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        word
        for line in lines
        if line.startswith(("flags", "Features")) and ":" in line
        for word in line.split(":", 1)[1].split()
    )
