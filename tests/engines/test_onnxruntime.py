"""The ONNX Runtime engine runs what it is given and explains what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.engines.onnxruntime_parts import OnnxRuntimeParts
from nafnet_deploy.engines.registry import ENGINES, open_engine
from nafnet_deploy.errors import ConfigError, EngineError, MissingDependency
from nafnet_deploy.manifest import Bundle, TensorSpec, open_bundle

MakeModel = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Bundle]


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).random(shape, np.float32)


@pytest.mark.parametrize("n", [None, 1, 2, 3])
def test_a_bundle_opens_with_all_or_fewer_iterations(
    make_model: MakeModel, make_bundle: MakeBundle, n: int | None
) -> None:
    batch = image(1, 3, 8, 10)
    with open_engine("onnxruntime", make_bundle(make_model(3)), iterations=n, threads=1) as engine:
        got = restore_batch(engine, batch)
    with OnnxRuntimeEngine(make_model(n or 3).SerializeToString(), threads=1) as engine:
        assert np.array_equal(got, restore_batch(engine, batch))


def test_the_engine_states_what_the_graph_takes_and_gives(make_model: MakeModel) -> None:
    with OnnxRuntimeEngine(make_model(1, (1, 3, "height", "width")).SerializeToString()) as engine:
        assert engine.name == "onnxruntime cpu"
        assert engine.inputs == (TensorSpec("image", "float32", (1, 3, "height", "width")),)
        assert engine.outputs == (TensorSpec("picture", "float32", (1, 3, "height", "width")),)


def test_all_iterations_need_no_onnx_package(
    make_model: MakeModel, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(make_model(3))
    monkeypatch.setitem(sys.modules, "onnx", None)
    OnnxRuntimeEngine.open(bundle, 3).close()
    with pytest.raises(MissingDependency, match="onnx"):
        OnnxRuntimeEngine.open(bundle, 2)


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        (image(2, 3, 8, 8), r"must be float32 \[1, 3, 8, 8\], not float32 \[2, 3, 8, 8\]"),
        (image(1, 3, 8, 9), r"not float32 \[1, 3, 8, 9\]"),
        (image(3, 8, 8), r"not float32 \[3, 8, 8\]"),
        (image(1, 3, 8, 8).astype(np.float64), "not float64"),
    ],
)
def test_a_wrong_input_names_what_was_expected(make_model: MakeModel, feed: np.ndarray, words: str) -> None:
    with (
        OnnxRuntimeEngine(make_model(1, (1, 3, 8, 8)).SerializeToString()) as engine,
        pytest.raises(EngineError, match=words),
    ):
        engine.run({"image": feed})


def test_unknown_inputs_are_refused(make_model: MakeModel) -> None:
    with (
        OnnxRuntimeEngine(make_model(1).SerializeToString()) as engine,
        pytest.raises(EngineError, match=r"\['photo'\] were given, the graph takes \['image'\]"),
    ):
        engine.run({"photo": image(1, 3, 8, 8)})


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing"])
@pytest.mark.parametrize("n", [2, 3])
def test_a_damaged_graph_gives_one_line_and_no_chatter(
    make_model: MakeModel, make_bundle: MakeBundle, capfd: pytest.CaptureFixture[str], damage: str, n: int
) -> None:
    bundle = make_bundle(make_model(3))
    whole = bundle.graph.read_bytes()
    if damage == "missing":
        bundle.graph.unlink()
    else:
        bundle.graph.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello\n"}[damage])
    with pytest.raises(EngineError) as caught:
        OnnxRuntimeEngine.open(bundle, n)
    assert "\n" not in caught.value.message
    assert "xport" in caught.value.mend
    assert capfd.readouterr().err == ""


def test_a_failure_inside_the_graph_names_the_shape(capfd: pytest.CaptureFixture[str]) -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["picture"])],
        "fails",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ("n",))],
        [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, (3,))],
        [onnx.numpy_helper.from_array(np.array([3]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with (
        OnnxRuntimeEngine(model.SerializeToString()) as engine,
        pytest.raises(EngineError, match=r"failed on image \[4\]"),
    ):
        engine.run({"image": image(4)})
    assert capfd.readouterr().err == ""


def test_a_silent_change_of_provider_is_refused(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherExecutionProvider"])
    with pytest.raises(EngineError, match="took OtherExecutionProvider where CPUExecutionProvider"):
        OnnxRuntimeEngine(make_model(1).SerializeToString())


def test_closing_twice_is_harmless_and_running_afterwards_is_not(make_model: MakeModel) -> None:
    engine = OnnxRuntimeEngine(make_model(1).SerializeToString())
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({"image": image(1, 3, 8, 8)})


@pytest.mark.parametrize(("n", "threads"), [(0, 1), (3, 0)])
def test_impossible_settings_are_refused(make_model: MakeModel, make_bundle: MakeBundle, n: int, threads: int) -> None:
    with pytest.raises(ConfigError, match="0"):
        open_engine("onnxruntime", make_bundle(make_model(3)), iterations=n, threads=threads)


def test_more_iterations_than_the_graph_has_are_refused(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    with pytest.raises(EngineError, match="4 iterations"):
        open_engine("onnxruntime", make_bundle(make_model(3)), iterations=4)


def test_an_unknown_engine_gets_the_nearest_name(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine("onnxruntim", make_bundle(make_model(3)))
    assert "'onnxruntime'" in caught.value.mend


def test_a_missing_package_names_the_extra(
    make_model: MakeModel, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(make_model(3))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, ENGINES["onnxruntime"].target.partition(":")[0])
    with pytest.raises(MissingDependency) as caught:
        open_engine("onnxruntime", bundle)
    assert caught.value.package == "onnxruntime"
    assert "nafnet-deploy[cpu]" in caught.value.mend


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        OnnxRuntimeEngine(str(tmp_path))


def test_sessions_that_take_turns_leave_the_cores_to_each_other(tiny_split: Path) -> None:
    # With threads that spin on after a run, head, step and tail took 1.4 times as long as the one graph on two cores.
    with closing(OnnxRuntimeParts(open_bundle(tiny_split), OnnxRuntimeEngine)) as parts:
        for engine in parts._engines.values():
            assert engine._session is not None
            options = engine._session.get_session_options()
            assert options.get_session_config_entry("session.force_spinning_stop") == "1"
