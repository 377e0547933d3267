"""ONNX Runtime's GPU providers on a machine that has none of them: refused with the reason, never the CPU instead."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.onnxruntime import TINY_GRAPH
from nafnet_deploy.engines.onnxruntime_gpu import OnnxRuntimeCuda, OnnxRuntimeRtx, OnnxRuntimeTensorRT
from nafnet_deploy.engines.probe import fault_of
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import EngineError, MachineError
from nafnet_deploy.parity.inputs import natural_batch

MakeModel = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Any]
PROVIDERS = ("onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-nv-tensorrt-rtx")


class Session:
    """A session that ONNX Runtime quietly put on the CPU."""

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def disable_fallback(self) -> None: ...


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists every provider, as onnxruntime-gpu does on any machine."""
    names = [OnnxRuntimeCuda.provider, OnnxRuntimeTensorRT.provider, "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_that_is_not_installed_names_the_command(
    make_model: MakeModel, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError) as caught:
        open_engine(name, make_bundle(make_model(3)))
    assert caught.value.exit_code == 3
    assert "pip install" in caught.value.mend
    if name != "onnxruntime-nv-tensorrt-rtx":
        assert "pip uninstall -y onnxruntime onnxruntime-gpu" in caught.value.mend


def test_a_provider_that_is_listed_and_does_not_start_gives_the_reason_and_prints_nothing(
    make_model: MakeModel,
    make_bundle: MakeBundle,
    listed: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bundle = make_bundle(make_model(3))
    with pytest.raises(MachineError) as caught:  # this onnxruntime really has no such provider
        open_engine("onnxruntime-cuda", bundle)
    assert "does not start: " in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_a_session_that_landed_on_the_cpu_is_refused(
    make_model: MakeModel, make_bundle: MakeBundle, listed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "InferenceSession", Session)
    bundle = make_bundle(make_model(3))
    with pytest.raises(EngineError, match="took CPUExecutionProvider where CUDAExecutionProvider was asked for"):
        open_engine("onnxruntime-cuda", bundle)


def test_the_graph_is_at_fault_when_the_provider_starts_without_it(
    make_model: MakeModel, make_bundle: MakeBundle, listed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntimeCuda, "fault", classmethod(lambda cls: ""))
    with pytest.raises(EngineError, match="does not compute the whole graph"):
        open_engine("onnxruntime-cuda", make_bundle(make_model(3)))


@pytest.mark.parametrize("engine", [OnnxRuntimeCuda, OnnxRuntimeTensorRT])
def test_the_session_is_asked_for_one_provider_without_any_fallback(
    listed: None, monkeypatch: pytest.MonkeyPatch, engine: type[OnnxRuntimeCuda]
) -> None:
    asked: dict[str, Any] = {}

    class Taken(Session):
        def __init__(self, graph: Any, options: ort.SessionOptions, **rest: Any) -> None:
            asked.update(rest, cpu=options.get_session_config_entry("session.disable_cpu_ep_fallback"))

        def get_providers(self) -> list[str]:
            return [engine.provider]

        def get_inputs(self) -> list[Any]:
            return []

        get_outputs = get_inputs

    monkeypatch.setattr(ort, "InferenceSession", Taken)
    opened = engine(TINY_GRAPH)
    assert opened.name == f"onnxruntime {engine.device}"
    assert asked["cpu"] == "1"
    assert asked["enable_fallback"] == 0
    assert [name for name, _ in asked["providers"]] == [engine.provider]
    if engine is OnnxRuntimeCuda:
        assert asked["providers"][0][1] == {"use_tf32": "0"}


def test_the_plug_in_is_registered_once_and_given_its_first_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    device = type("Device", (), {"ep_name": OnnxRuntimeRtx.provider})()
    devices: list[Any] = []
    plugin = type("Plugin", (), {"get_library_path": staticmethod(lambda: "lib.so")})
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)  # type: ignore[arg-type]

    def register(name: str, path: str) -> None:
        calls.append(f"{name} {path}")
        devices.extend([device, device])

    class Options:
        def add_session_config_entry(self, name: str, value: str) -> None:
            calls.append(f"{name}={value}")

        def add_provider_for_devices(self, chosen: list[Any], options: dict[str, str]) -> None:
            calls.append(f"{len(chosen)} device")

    monkeypatch.setattr(ort, "register_execution_provider_library", register)
    monkeypatch.setattr(ort, "get_ep_devices", lambda: devices)
    monkeypatch.setattr(ort, "InferenceSession", Session)
    for _ in range(2):
        OnnxRuntimeRtx._session(TINY_GRAPH, Options())
    assert calls.count("NvTensorRTRTXExecutionProvider lib.so") == 1
    assert calls.count("1 device") == 2
    assert "session.disable_cpu_ep_fallback=1" in calls
    monkeypatch.setattr(ort, "get_ep_devices", list)
    with pytest.raises(MachineError, match="finds no GPU"):
        OnnxRuntimeRtx._session(TINY_GRAPH, Options())


def test_the_tiny_graph_is_a_valid_graph() -> None:
    model = onnx.load_from_string(TINY_GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", ""),
        ("raise RuntimeError('no  such\\nthing.')", "thing"),
        ("import sys; sys.exit('FAIL : Failed to load library x.so with error: liby.so: cannot open')", "liby.so"),
        ("import os; os.abort()", "crashed with signal 6"),
        ("import time; time.sleep(60)", "hung"),
    ],
)
def test_a_try_in_another_process_survives_whatever_happens_there(code: str, reason: str) -> None:
    fault = fault_of(code, timeout=2.0)
    assert reason in fault
    assert bool(fault) == bool(reason)
    assert "\n" not in fault


def test_a_file_in_the_current_folder_does_not_stand_in_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert fault_of("import onnxruntime") == ""


def test_the_module_of_the_registry_imports_no_engine() -> None:
    code = "import sys, nafnet_deploy.engines.registry, nafnet_deploy.doctor, nafnet_deploy.engines.tensorrt_open;"
    code += "print(sorted({'torch', 'onnx', 'onnxruntime', 'tensorrt_rtx', 'cuda', 'pycuda'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_gives_the_cpus_picture(make_model: MakeModel, make_bundle: MakeBundle, name: str) -> None:
    bundle, batch = make_bundle(make_model(3)), natural_batch((1, 3, 64, 64), seed=0)
    with open_engine("onnxruntime", bundle) as engine:
        wanted = restore_batch(engine, batch)
    with open_engine(name, bundle) as engine:
        assert engine.name == name.replace("-", " ", 1)
        assert abs(restore_batch(engine, batch) - wanted).max() < 2e-5


def test_plans_of_the_provider_are_kept_apart_by_what_is_in_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path / "plans"))
    (tmp_path / "a.onnx").write_bytes(b"weights")
    folders = [
        Path(OnnxRuntimeTensorRT._options(graph)["trt_engine_cache_path"])
        for graph in (str(tmp_path / "a.onnx"), b"weights", b"others")
    ]
    assert folders[0] == folders[1] != folders[2]
    assert all(folder.is_relative_to(tmp_path) for folder in folders)
