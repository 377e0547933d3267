"""What a file is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.checkpoints.store import save_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, MissingDependency
from nafnet_deploy.inspect import describe
from nafnet_deploy.models.registry import build, count_parameters
from tests.bundles import write_bundle, write_identity_graph


def test_our_checkpoint(tmp_path: Path) -> None:
    checkpoint = load_model("light")
    path = tmp_path / "light.safetensors"
    save_checkpoint(checkpoint, path)
    facts = describe(path)
    json.dumps(facts)
    assert facts["kind"] == "checkpoint"
    assert facts["iterations"] == checkpoint.config.iterations
    assert facts["parameters"] == count_parameters(checkpoint.network())
    assert ModelConfig.from_dict(facts["config"]) == checkpoint.config
    assert facts["provenance"] == {"source": "random weights, seed 0"}
    assert facts["bytes"] == path.stat().st_size


def test_official_checkpoint(tmp_path: Path) -> None:
    config = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,))
    torch.save({"params": build(config).state_dict()}, tmp_path / "x.pth")
    facts = describe(tmp_path / "x.pth")
    json.dumps(facts)
    assert facts["kind"] == "official checkpoint"
    assert ModelConfig.from_dict(facts["config"]) == config
    assert facts["parameters"] == count_parameters(build(config))


def test_bundle(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    manifest = write_bundle(path)
    facts = describe(path)
    json.dumps(facts)
    assert (facts["kind"], facts["graph_matches_manifest"], facts["golden"]) == ("bundle", True, False)
    assert facts["manifest"] == json.loads(manifest.to_json())
    path.write_bytes(path.read_bytes() + b"\0")
    assert describe(path)["graph_matches_manifest"] is False


def test_foreign_onnx(tmp_path: Path) -> None:
    write_identity_graph(tmp_path / "x.onnx")
    facts = describe(tmp_path / "x.onnx")
    json.dumps(facts)
    assert facts["kind"] == "foreign onnx"
    assert facts["inputs"] == {"input": ["batch", 3, "height", "width"]}
    assert (facts["nodes"], facts["opset"], facts["producer"]) == (1, {"ai.onnx": 18}, "tests")


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, tmp_path / "x.safetensors", {"format": "pt"})
    facts = describe(tmp_path / "x.safetensors")
    assert facts["kind"] == "foreign safetensors"
    assert (facts["tensors"], facts["parameters"], facts["first_keys"]) == (2, 7, ["a", "b"])


@pytest.mark.parametrize("name", ["x.safetensors", "x.onnx", "x.pth", "x.jpg"])
@pytest.mark.parametrize("content", [None, b"", b"hello, this is a text file", bytes(range(256))])
def test_anything_else_is_a_clear_error(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        describe(tmp_path / name)
    assert error.value.mend


def test_truncated_onnx(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    write_identity_graph(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="not a readable ONNX"):
        describe(path)


def test_needs_no_torch_but_for_pth(tmp_path: Path) -> None:
    save_checkpoint(load_model("light"), tmp_path / "x.safetensors")
    write_bundle(tmp_path / "x.onnx")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from pathlib import Path; from nafnet_deploy.inspect import describe\n"
        "print([describe(Path(p))['kind'] for p in sys.argv[1:]])"
    )
    files = [str(tmp_path / "x.safetensors"), str(tmp_path / "x.onnx")]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['checkpoint', 'bundle']"


def test_pth_without_torch_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({}, tmp_path / "x.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "nafnet_deploy.checkpoints.official")
    with pytest.raises(MissingDependency, match=r"nafnet-deploy\[export\]"):
        describe(tmp_path / "x.pth")
