"""OpenVINO computes what ONNX Runtime computes, and says so when it is missing or cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.openvino_form import reduce_means
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import EngineError, MissingDependency
from nafnet_deploy.manifest import Bundle, open_bundle

MakeModel = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Bundle]


def test_a_machine_without_it_is_told_the_extra(
    make_model: MakeModel, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "nafnet_deploy.engines.openvino", raising=False)
    with pytest.raises(MissingDependency, match=r"nafnet-deploy\[openvino\]"):
        open_engine("openvino", make_bundle(make_model(1)))


def test_the_pictures_are_onnxruntimes(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    bundle, batch = make_bundle(make_model(3)), np.random.default_rng(2).random((1, 3, 8, 10), np.float32)
    for n in (1, 3):
        with open_engine("openvino", bundle, n, threads=1) as engine, open_engine("onnxruntime", bundle, n) as other:
            assert engine.name == "openvino cpu fp32"
            assert engine.inputs[0].shape[1] == 3
            assert np.abs(restore_batch(engine, batch) - restore_batch(other, batch)).max() < 1e-5


def test_its_results_are_fresh_arrays(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    batch = np.random.default_rng(2).random((1, 3, 8, 10), np.float32)
    with open_engine("openvino", make_bundle(make_model(1))) as engine:
        first = restore_batch(engine, batch)
        kept = first.copy()
        restore_batch(engine, 1 - batch)
        assert np.array_equal(first, kept)


def test_what_does_not_fit_is_refused(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    bundle = make_bundle(make_model(2))
    with open_engine("openvino", bundle) as engine:
        with pytest.raises(EngineError, match="must be float32"):
            restore_batch(engine, np.zeros((1, 4, 8, 8), np.float32))
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            restore_batch(engine, np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(EngineError, match="4 iterations"):
        open_engine("openvino", bundle, 4)
    bundle.graph.write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot be loaded by OpenVINO"):
        open_engine("openvino", bundle)


def test_channel_means_become_reductions_and_nothing_else_changes(tiny: Path) -> None:
    core = openvino.Core()
    plain, reduced = (core.read_model(tiny) for _ in range(2))
    kinds = [op.get_type_name() for op in plain.get_ops()]
    count = reduce_means(reduced)
    assert count > 0
    after = [op.get_type_name() for op in reduced.get_ops()]
    assert kinds.count("Convolution") - after.count("Convolution") == count
    assert after.count("ReduceMean") - kinds.count("ReduceMean") == count
    batch = np.random.default_rng(3).random((2, 3, 16, 24), np.float32)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    first, second = (core.compile_model(model, "CPU", exact)(batch)[0] for model in (plain, reduced))
    assert np.abs(first - second).max() < 1e-5


def test_a_convolution_that_weighs_its_channels_is_no_mean(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    assert reduce_means(openvino.Core().read_model(make_bundle(make_model(3)).graph)) == 0


def test_bf16_is_named_or_refused(tiny: Path) -> None:
    can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    try:
        with open_engine("openvino-bf16", open_bundle(tiny)) as engine:
            name = engine.name
    except EngineError as error:
        name = error.message
    assert name == ("openvino cpu bf16" if can else "this processor has no bfloat16.")
