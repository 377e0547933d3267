"""OpenVINO computes what ONNX Runtime computes, and says so when it is missing or cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import EngineError, MissingDependency
from nafnet_deploy.manifest import Bundle

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
    pytest.importorskip("openvino")
    bundle, batch = make_bundle(make_model(3)), np.random.default_rng(2).random((1, 3, 8, 10), np.float32)
    for n in (1, 3):
        with open_engine("openvino", bundle, n, threads=1) as engine, open_engine("onnxruntime", bundle, n) as other:
            assert engine.name == "openvino cpu fp32"
            assert engine.inputs[0].shape[1] == 3
            assert np.abs(restore_batch(engine, batch) - restore_batch(other, batch)).max() < 1e-5


def test_its_results_are_fresh_arrays(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    pytest.importorskip("openvino")
    batch = np.random.default_rng(2).random((1, 3, 8, 10), np.float32)
    with open_engine("openvino", make_bundle(make_model(1))) as engine:
        first = restore_batch(engine, batch)
        kept = first.copy()
        restore_batch(engine, 1 - batch)
        assert np.array_equal(first, kept)


def test_what_does_not_fit_is_refused(make_model: MakeModel, make_bundle: MakeBundle) -> None:
    pytest.importorskip("openvino")
    bundle = make_bundle(make_model(2))
    with open_engine("openvino", bundle) as engine:
        with pytest.raises(EngineError, match="must be float32"):
            restore_batch(engine, np.zeros((1, 4, 8, 8), np.float32))
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            restore_batch(engine, np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(EngineError, match="3 iterations"):
        open_engine("openvino", bundle, 3)
    bundle.graph.write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot be loaded by OpenVINO"):
        open_engine("openvino", bundle)
