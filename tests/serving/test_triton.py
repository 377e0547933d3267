"""The model repository for Triton, and the client's side, whose transport is replaced by a real ONNX session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from nafnet_deploy import Restorer as PublicRestorer
from nafnet_deploy.engines.plan import ShapeProfile
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import open_bundle, read_manifest
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.serving.triton import TritonWish, write_repository
from nafnet_deploy.serving.triton_client import TritonEngine
from tests.cli.conftest import Command, snapshot
from tests.plans import write as write_plan_file


def config_of(folder: Path) -> Any:
    """What Triton's own schema makes of the file."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


class FakeTriton:
    """Stands for the connection: checks what Triton would check, and runs the repository's graph."""

    def __init__(self, folder: Path, version: str = "1") -> None:
        self.config, self.closed, self.batches = config_of(folder), False, []
        self.session = onnxruntime.InferenceSession(str(folder / version / "model.onnx"))

    def get_model_config(self, model_name: str, model_version: str = "", as_json: bool = False) -> Any:
        assert as_json
        if model_name != self.config.name:
            raise InferenceServerException(f"Request for unknown model: '{model_name}' is not found")
        answer = service_pb2.ModelConfigResponse(config=self.config)
        return json.loads(json_format.MessageToJson(answer, preserving_proto_field_name=True))

    def infer(self, model_name: str, inputs: list[Any], model_version: str = "", outputs: Any = None) -> Any:
        feeds = {}
        for wanted, given in zip(self.config.input, inputs, strict=True):
            tensor = given._get_tensor()
            shape = list(tensor.shape)
            if self.config.max_batch_size:
                assert shape.pop(0) <= self.config.max_batch_size
            assert all(want in (-1, got) for want, got in zip(wanted.dims, shape, strict=True))
            assert model_config_pb2.DataType.Name(wanted.data_type) == f"TYPE_{tensor.datatype}"
            if max(shape) > 64:
                raise InferenceServerException("out of memory")
            feeds[wanted.name] = np.frombuffer(given._get_content(), np.float32).reshape(tensor.shape)
        self.batches.append(shape)
        names = [output.name for output in self.config.output]
        results = dict(zip(names, self.session.run(names, feeds), strict=True))
        return type("Answer", (), {"as_numpy": lambda self, name: results[name]})()

    def close(self) -> None:
        self.closed = True


def test_the_configuration_is_what_triton_s_schema_reads(tiny: Path, tmp_path: Path) -> None:
    target = write_repository(str(tiny), tmp_path, TritonWish(max_batch=4, delay_us=700, instances=2, device="gpu"))
    assert target == tmp_path / "tiny" / "1"
    config = config_of(target.parent)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "onnxruntime", 4)
    assert [(t.name, list(t.dims), t.data_type) for t in config.input] == [("input", [3, -1, -1], 11)]
    assert [(t.name, list(t.dims), t.data_type) for t in config.output] == [("output", [3, -1, -1], 11)]
    assert config.dynamic_batching.max_queue_delay_microseconds == 700
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, 1)]
    assert [(w.batch_size, list(w.inputs["input"].dims)) for w in config.model_warmup] == [
        (1, [3, 256, 256]),
        (4, [3, 256, 256]),
    ]
    assert sorted(p.name for p in target.iterdir()) == ["model.golden.npz", "model.json", "model.onnx"]
    assert sorted(p.name for p in target.parent.iterdir()) == ["1", "config.pbtxt"]


def test_a_version_is_a_bundle_of_the_iterations_asked_for(tiny: Path, tmp_path: Path, command: Command) -> None:
    target = write_repository(str(tiny), tmp_path, TritonWish(iterations=2))
    assert open_bundle(target / "model.onnx").manifest.iterations == 2
    assert command("parity", target / "model.onnx").code == 0
    array = np.random.default_rng(0).random((16, 16, 3))
    results = []
    for path, n in ((tiny, 2), (target / "model.onnx", 2)):
        with PublicRestorer.from_bundle(path, iterations=n, engine="onnxruntime", threads=1) as restorer:
            results.append(restorer(array))
    assert np.array_equal(*results)


def test_the_client_pads_and_tiles_to_the_picture_of_the_library(tiny: Path, tmp_path: Path) -> None:
    target = write_repository(str(tiny), tmp_path, TritonWish())
    picture = np.random.default_rng(0).random((90, 75, 3), np.float32)
    fake = FakeTriton(target.parent)
    with TritonEngine(fake, "tiny") as engine:
        restored = Restorer(engine, read_manifest(target / "model.json"), tile=48, overlap=16)(picture)
    assert fake.closed
    assert len(fake.batches) == 6
    n = read_manifest(tiny).default_iterations
    with PublicRestorer.from_bundle(tiny, iterations=n, engine="onnxruntime", tile=48, overlap=16) as here:
        np.testing.assert_allclose(restored, here(picture), atol=1e-6)


def test_the_server_s_refusals_are_told(tiny: Path, tmp_path: Path) -> None:
    fake = FakeTriton(write_repository(str(tiny), tmp_path, TritonWish()).parent)
    with pytest.raises(EngineError, match="no other to run"):
        TritonEngine(fake, "other")
    engine = TritonEngine(fake, "tiny")
    with pytest.raises(EngineError, match="out of memory"):
        engine.run({"input": np.zeros((1, 3, 80, 80), np.float32)})
    with pytest.raises(EngineError, match="float32"):
        engine.run({"input": np.zeros((1, 4, 8, 8), np.float32)})


def test_a_graph_of_a_fixed_batch_is_not_batched(tmp_path: Path) -> None:
    import dataclasses

    import onnx

    from nafnet_deploy.manifest import TensorSpec, sha256_of
    from tests.bundles import manifest_of, write_identity_graph

    graph = tmp_path / "fixed.onnx"
    write_identity_graph(graph)
    model = onnx.load(graph)
    for value in (*model.graph.input, *model.graph.output):
        for dim, side in zip(value.type.tensor_type.shape.dim, (2, 3, 64, 64), strict=True):
            dim.dim_value = side
    onnx.save(model, graph)
    specs = {
        kind: (TensorSpec(name, "float32", (2, 3, 64, 64)),)
        for kind, name in (("inputs", "input"), ("outputs", "output"))
    }
    manifest = dataclasses.replace(manifest_of(graph), sha256={".onnx": sha256_of(graph)}, **specs)
    graph.with_suffix(".json").write_text(manifest.to_json())
    target = write_repository(str(graph), tmp_path / "repo", TritonWish(name="fixed"))
    config = config_of(target.parent)
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert list(config.input[0].dims) == [2, 3, 64, 64]
    assert [list(w.inputs["input"].dims) for w in config.model_warmup] == [[2, 3, 64, 64]]
    picture = np.random.default_rng(0).random((100, 80, 3), np.float32)
    with TritonEngine(FakeTriton(target.parent), "fixed") as engine:
        np.testing.assert_allclose(Restorer(engine, manifest)(picture), picture, atol=1e-6)


def test_a_tensorrt_plan_gets_its_backend_and_bounds(tiny: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny)
    profile = ShapeProfile("input", (1, 3, 16, 16), (1, 3, 128, 192), (3, 3, 512, 512))
    plan = write_plan_file(
        tmp_path / "a.engine", bundle, b"a plan", target="tensorrt", version="10.13.0", profiles=(profile,)
    )
    target = write_repository(str(plan), tmp_path / "repo", TritonWish())
    config = config_of(target.parent)
    assert (config.backend, config.max_batch_size) == ("tensorrt", 3)
    assert (target / "model.plan").read_bytes() == b"a plan"
    assert [(w.batch_size, list(w.inputs["input"].dims)) for w in config.model_warmup] == [
        (1, [3, 128, 192]),
        (3, [3, 128, 192]),
    ]


def test_what_triton_cannot_load_is_refused(tiny: Path, tiny_split: Path, tmp_path: Path, command: Command) -> None:
    plan = write_plan_file(tmp_path / "rtx.engine", open_bundle(tiny), b"a plan")
    repo = tmp_path / "repo"
    for model, code, words in (
        (plan, 6, ("tensorrt-rtx", "--target tensorrt")),
        (tiny_split, 6, ("split", "nafdeploy export CHECKPOINT --mode unrolled")),
        ("denoise-lite", 2, ("denoise-light",)),
    ):
        command("triton", model, "--model-repo", repo).refused(code, *words)
    for option, words in (
        (("--iters", "9"), ("9 iterations",)),
        (("--version", "0"), ("--version 0",)),
        (("--max-batch", "0"), ("--max-batch 0",)),
        (("--max-batch", "99999999999"), ("--max-batch 99999999999", "1 to 2147483647")),
        (("--instances", "2147483648"), ("--instances 2147483648",)),
        (("--delay-us", str(2**64)), ("--delay-us",)),
        (("--version", "9" * 26), ("--version",)),
        (("--device", "tpu"), ("tpu", "gpu")),
        (("--name", "../up"), ("../up",)),
    ):
        command("triton", tiny, "--model-repo", repo, *option).refused(6 if option[0] == "--iters" else 2, *words)
    assert not repo.exists()


def test_nothing_is_overwritten_unless_asked(tiny: Path, tmp_path: Path, command: Command) -> None:
    line = ("triton", tiny, "--model-repo", tmp_path)
    assert command(*line).code == 0
    before = snapshot(tmp_path)
    command(*line, "--iters", "1").refused(2, "is there already", "--version 2", "--replace")
    command(*line, "--version", "2", "--max-batch", "2").refused(2, "config.pbtxt differs", "--replace")
    assert snapshot(tmp_path) == before
    assert command(*line, "--version", "2", "--iters", "1").code == 0
    after = snapshot(tmp_path)
    assert {name: after[name] for name in before} == before
    assert command(*line, "--iters", "1", "--replace").code == 0
    replaced = snapshot(tmp_path)
    assert replaced["tiny/1/model.onnx"] == replaced["tiny/2/model.onnx"] != before["tiny/1/model.onnx"]
    assert not [p for p in (tmp_path / "tiny").iterdir() if p.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_told(tiny: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("")
    command("triton", tiny, "--model-repo", tmp_path / "file").refused(3, "cannot be written")
