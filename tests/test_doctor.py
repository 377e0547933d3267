"""What doctor concludes from what it finds; the machines are made up, one test looks at this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nafnet_deploy import doctor
from nafnet_deploy.doctor import Diagnosis, Finding, diagnose
from nafnet_deploy.engines.driver import LocalGpu

GPU = LocalGpu("NVIDIA GeForce RTX 3090", "sm86", 24.0, "13.0")
BASE = {"numpy": "2", "pillow": "11", "onnxruntime": "1.31"}


def on(
    monkeypatch: pytest.MonkeyPatch,
    gpu: LocalGpu | None,
    packages: dict[str, str],
    faults: dict[str, str] | None = None,
) -> Diagnosis:
    """A machine with that GPU and those packages; a try whose code holds a key of `faults` fails."""
    known = faults or {}
    monkeypatch.setattr(doctor, "local_gpu", lambda: gpu)
    monkeypatch.setattr(doctor, "version_of", lambda *names: next((packages[n] for n in names if n in packages), ""))
    monkeypatch.setattr(doctor, "fault_of", lambda code: next((f for key, f in known.items() if key in code), ""))
    monkeypatch.setattr(doctor, "cuda_of_wheel", lambda target: "13")
    return diagnose()


def find(diagnosis: Diagnosis, name: str, area: str = "") -> Finding:
    (found,) = (f for f in diagnosis.findings if f.name == name and area in ("", f.area))
    return found


def test_this_machine_is_described_and_its_cpu_engine_starts() -> None:
    diagnosis = diagnose()
    assert find(diagnosis, "onnxruntime", "provider").state == "ok"
    assert find(diagnosis, "openvino").state == "ok"
    assert find(diagnosis, "tensorrt-rtx").state == "ok"
    assert diagnosis.environment.memory_gib > 0
    assert all(f.state in ("ok", "missing", "broken") for f in diagnosis.findings)


def test_a_plain_cpu_machine_lacks_much_and_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = on(monkeypatch, None, BASE)
    assert diagnosis
    assert find(diagnosis, "NVIDIA driver").state == "missing"
    assert find(diagnosis, "tensorrt-rtx").mend == "pip install 'nafnet-deploy[tensorrt-rtx]'"
    assert find(diagnosis, "torch").mend == "pip install 'nafnet-deploy[export]'"


@pytest.mark.parametrize(("fault", "state"), [("", "ok"), ("libtbb.so: cannot open", "broken")])
def test_openvino_that_is_installed_and_does_not_start_is_broken(
    monkeypatch: pytest.MonkeyPatch, fault: str, state: str
) -> None:
    diagnosis = on(monkeypatch, None, {**BASE, "openvino": "2026.4"}, {"openvino.Core": fault})
    assert find(diagnosis, "openvino").state == state
    assert bool(diagnosis) is not bool(fault)


def test_a_gpu_without_its_packages_gets_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = on(monkeypatch, GPU, BASE)
    assert diagnosis
    assert find(diagnosis, GPU.name).detail == "sm86, 24 GiB"
    swap = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'nafnet-deploy[gpu]'"
    assert find(diagnosis, "onnxruntime-cuda").mend == swap
    assert find(diagnosis, "onnxruntime-nv-tensorrt-rtx").mend == "pip install onnxruntime-ep-nv-tensorrt-rtx"
    assert find(diagnosis, "cuda-bindings").mend == "pip install cuda-bindings"
    assert all(f.mend for f in diagnosis.findings if f.state == "missing")


def test_both_onnxruntimes_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = on(monkeypatch, None, {**BASE, "onnxruntime-gpu": "1.31"})
    assert not diagnosis
    assert "overwrite" in find(diagnosis, "onnxruntime", "package").detail
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in diagnosis.broken[0].mend


def test_a_listed_provider_that_does_not_start_is_broken_only_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = {"numpy": "2", "onnxruntime-gpu": "1.31", "pillow": "11"}
    faults = {"OnnxRuntimeCuda": "libcublasLt.so.13: cannot open", "OnnxRuntimeTensorRT": "libnvinfer.so.10"}
    diagnosis = on(monkeypatch, GPU, packages, faults)
    assert [f.name for f in diagnosis.broken] == ["onnxruntime-cuda"]
    assert "libcublasLt.so.13" in diagnosis.broken[0].detail
    assert find(diagnosis, "onnxruntime-tensorrt").mend == "pip install 'tensorrt-cu13<11'"
    diagnosis = on(monkeypatch, None, packages, faults)
    assert diagnosis
    assert "libcublasLt.so.13" in find(diagnosis, "onnxruntime-cuda").detail


def test_a_library_that_does_not_load_or_outruns_the_driver_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {**BASE, "tensorrt-rtx": "1.7"}
    diagnosis = on(monkeypatch, None, packages, {"load_library": "crashed with signal 11"})
    assert [f.name for f in diagnosis.broken] == ["tensorrt-rtx"]
    diagnosis = on(monkeypatch, LocalGpu("RTX 3090", "sm86", 24.0, "12.4"), packages)
    assert "the driver serves 12.4" in find(diagnosis, "tensorrt-rtx").detail
    assert not diagnosis
    assert find(on(monkeypatch, GPU, packages), "tensorrt-rtx").detail == "1.7, builds and runs plans"


def test_pycuda_without_a_driver_is_no_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    packages, faults = {**BASE, "pycuda": "2026.1"}, {"pycuda.driver": "libcuda.so.1: cannot open"}
    assert find(on(monkeypatch, None, packages, faults), "pycuda").state == "missing"
    assert find(on(monkeypatch, GPU, packages, faults), "pycuda").state == "broken"


@pytest.mark.parametrize(
    ("line", "word"),
    [("flags\t\t: fpu avx2 avx512_bf16", "avx512_bf16 (fast bf16)"), ("Features : asimd", "ARM"), ("", "not name")],
)
def test_the_processor_names_what_matters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, word: str
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name : x\n{line}\n")
    monkeypatch.setattr(doctor, "CPUINFO", path)
    (finding,) = doctor._processor()
    assert word in finding.detail


def test_without_onnxruntime_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = on(monkeypatch, None, {"numpy": "2", "pillow": "11"})
    assert find(diagnosis, "onnxruntime").mend == "pip install 'nafnet-deploy[cpu]'"
