"""`--engine` on the command line of a machine without a GPU: what works, and one line for what does not."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from nafnet_deploy import doctor as room
from nafnet_deploy.engines import registry, tensorrt_open
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.manifest import open_bundle
from tests import plans
from tests.cli.conftest import Command

NO_GPU = pytest.mark.usefixtures("no_gpu")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests hold on any machine."""
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nafnet_deploy.engines.registry.local_gpu", lambda: None)
    monkeypatch.setattr(tensorrt_open, "local_gpu", lambda: None)
    monkeypatch.setattr(room, "local_gpu", lambda: None)


@NO_GPU
@pytest.mark.parametrize(
    ("engine", "name"), [("auto", "openvino cpu fp32"), ("onnxruntime", "onnxruntime cpu")], ids=["auto", "onnxruntime"]
)
def test_run_says_which_engine_it_took(command: Command, tiny: Path, picture: Path, engine: str, name: str) -> None:
    done = command("run", picture, "-m", tiny, "--engine", engine, "--iters", "2")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == f"engine: {name}, N = 2"


@NO_GPU
def test_auto_takes_onnxruntime_where_openvino_is_not_installed(
    command: Command, tiny: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = command("run", picture, "-m", tiny)
    assert (done.code, done.err.splitlines()[-1]) == (0, "engine: onnxruntime cpu, N = 3")


@NO_GPU
def test_auto_leaves_openvino_out_where_the_graph_is_fp16(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    half = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, precision="fp16"))
    with registry.open_engine("auto", half) as engine:
        assert engine.name == "onnxruntime cpu"


@NO_GPU
@pytest.mark.parametrize(
    "words",
    [
        ["run", "PICTURE", "-m"],
        ["compare", "PICTURE", "-m"],
        ["parity"],
        ["bench", "--imgsz", "16"],
        ["eval", "--clean", "."],
    ],
    ids=lambda w: w[0],
)
@pytest.mark.parametrize("engine", ["tensorrt-rtx", "onnxruntime-cuda"])
def test_an_engine_without_its_machine_is_code_3_and_writes_nothing(
    command: Command, tiny: Path, picture: Path, words: list[str], engine: str
) -> None:
    before = sorted(picture.parent.iterdir())
    line = [str(picture) if word == "PICTURE" else word for word in words]
    command(*line, tiny, "--engine", engine).refused(3)
    assert sorted(picture.parent.iterdir()) == before


@NO_GPU
def test_a_damaged_plan_and_one_for_another_graph_are_code_6_with_the_command(
    command: Command, tiny: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(tiny)
    plan = plans.write(picture.parent / "p.engine", bundle)
    plan.write_bytes(b"half")
    command("run", picture, "-m", tiny, "--engine", plan).refused(6, "hash differs", "nafdeploy build")
    plans.write(plan, bundle, graph_sha256="0" * 64)
    monkeypatch.setattr(tensorrt_open, "local_gpu", lambda: LocalGpu("RTX 3090", "sm86", 24.0, "13.0"))
    command("run", picture, "-m", tiny, "--engine", plan).refused(6, "another graph", "nafdeploy build", "--gpu sm86")
    plans.write(plan, bundle, version="1.0.0")
    for words in (["run", picture, "-m", tiny], ["parity", tiny], ["bench", tiny, "--imgsz", "16"]):
        command(*words, "--engine", plan).refused(6, "version 1.0.0", "nafdeploy build")


@NO_GPU
@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--engine", "tensort"], 2, "'tensorrt'"),
        (["--engine", "nowhere.engine"], 2, "does not exist"),
        (["--engine", "onnxruntime", "--trust-engine"], 2, "path"),
    ],
)
def test_an_impossible_engine_is_refused(
    command: Command, tiny: Path, picture: Path, options: list[str], code: int, word: str
) -> None:
    command("run", picture, "-m", tiny, *options).refused(code, word)


@NO_GPU
def test_bench_and_parity_take_auto(command: Command, tiny: Path) -> None:
    done = command("parity", tiny, "--engine", "auto", "--json")
    assert json.loads(done.out)["engine"] == "openvino cpu fp32"
    done = command(
        "bench", tiny, "--engine", "auto", "--imgsz", "16", "--runs", "1", "--warmup", "0", "--pause", "0", "--json"
    )
    assert {(row["label"], row["engine"]) for row in json.loads(done.out)["rows"]} == {("auto", "openvino cpu fp32")}


@NO_GPU
def test_doctor_gives_json_on_stdout_and_a_table_on_stderr(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "fault_of", lambda code: "")
    done = command("doctor", "--json")
    table = json.loads(done.out)
    assert (done.code, table["ok"], table["gpu"]) == (0, True, None)
    done = command("doctor")
    assert (done.code, done.out) == (0, "")
    assert "onnxruntime" in done.err


@NO_GPU
def test_doctor_ends_with_code_3_when_something_is_broken(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "fault_of", lambda code: "libx.so: cannot open" if "OnnxRuntimeEngine" in code else "")
    done = command("doctor", "--json")
    assert done.code == 3
    assert not json.loads(done.out)["ok"]
    assert "pip uninstall -y onnxruntime" in done.err.splitlines()[-1]
