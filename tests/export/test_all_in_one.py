"""The all-in-one network as a graph: both precisions, its task, a plan, and `nafdeploy run`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.cli.parity import pytorch
from nafnet_deploy.config import INFER
from nafnet_deploy.engines.build import run_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.places import target_path
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import for_task, reference
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.parity.inputs import natural_batch
from tests.exports import quick_export
from tests.variants import ALL_IN_ONE, RESTORMER
from tests.weights import seeded, stir

SMALL = dataclasses.replace(ALL_IN_ONE, refinement_blocks=0)
CASES = [
    pytest.param(("fp16", INFER), id="fp16 infer"),
    pytest.param(("fp32", "dehazing"), id="fp32 dehazing", marks=pytest.mark.slow),
]
"""Between them both precisions, the router and an expert."""


def checkpoint() -> Checkpoint:
    return Checkpoint(stir(seeded(SMALL)).state_dict(), SMALL, "small", "restoration", {"source": "test"})


@pytest.fixture(scope="module", params=CASES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    precision, task = request.param
    folder = tmp_path_factory.mktemp("all-in-one")
    size = {"fp16": {"imgsz": "32", "batch": 1}, "fp32": {}}[precision]  # free sizes take the exporter longer
    recipe = ExportRecipe(precision=precision, task=task, output=str(folder), **size)
    return quick_export(checkpoint(), recipe, proof=True)


def test_export_proves_itself_and_states_its_task(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert len(manifest.inputs) == 1, "the task is no input"
    assert (manifest.model.expert, manifest.task) in (("dehazing", "dehazing"), (INFER, "restoration"))
    assert f"small-{manifest.model.expert}-n1" in bundle.graph.name
    if manifest.precision == "fp32":
        assert manifest.parity["max_abs_error"] < 2e-5
    else:
        assert manifest.parity["min_psnr"] > 60
        assert manifest.half_share > 0.9


def test_the_router_is_in_the_graph_where_it_is_needed(bundle: Bundle) -> None:
    softmaxes = [n for n in onnx.load(bundle.graph).graph.node if n.op_type == "Softmax"]
    blocks, gates = 3, 3
    assert len(softmaxes) == blocks + gates * (bundle.manifest.model.expert == INFER)


def test_plan_builds(bundle: Bundle, tmp_path: Path) -> None:
    recipe = BuildRecipe(gpus=("sm86",), output=str(tmp_path))
    manifest = run_build(bundle, recipe, load_library("tensorrt-rtx")).file.manifest
    assert (manifest.precision_built, manifest.warnings) == (bundle.manifest.precision, ())


def test_a_picture_of_any_size_is_restored(bundle: Bundle, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (21, 31, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert execute(["run", str(tmp_path / "a.png"), "-m", str(bundle.graph), "--engine", "onnxruntime"]) == 0
    bottom, right = (11, 1) if isinstance(bundle.manifest.inputs[0].shape[2], int) else (1, 1)
    padded = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="reflect") / np.float32(255)
    batch = padded.transpose(2, 0, 1)[None].astype(np.float32)
    network = for_task(checkpoint(), bundle.manifest.model.expert).network()
    expected = np.clip(reference(network)(batch, 1)[0][0], 0, 1).transpose(1, 2, 0)[:21, :31]
    found = np.asarray(Image.open(tmp_path / "a_restored.png")) / 255
    assert np.abs(found - expected).max() < (0.003 if bundle.manifest.precision == "fp32" else 0.02)
    assert np.abs(found - pixels / 255).max() > 0.02


def test_a_graph_of_one_task_is_compared_with_the_network_of_that_task(bundle: Bundle, tmp_path: Path) -> None:
    save_checkpoint(checkpoint(), tmp_path / "all.safetensors")
    batch = natural_batch((1, 3, 16, 16), 0)
    found = pytorch(str(tmp_path / "all.safetensors"), bundle.manifest)(batch, 1)[0]
    wanted = reference(for_task(checkpoint(), bundle.manifest.model.expert).network())(batch, 1)[0]
    assert np.array_equal(found, wanted)


def test_a_task_belongs_to_a_network_with_experts() -> None:
    plain = Checkpoint(seeded(RESTORMER).state_dict(), RESTORMER, "plain", "", {})
    with pytest.raises(ConfigError, match="--task dehazing: plain has no experts"):
        for_task(plain, "dehazing")
    assert for_task(plain, "") is plain


def test_a_task_outside_the_list_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r"task = 'denoise' is impossible: it is no task. Did you mean 'denoising'\?"):
        ExportRecipe(task="denoise")


def test_the_task_is_part_of_the_name() -> None:
    names = [target_path(for_task(checkpoint(), task), ExportRecipe(), 1).name for task in ("", "infer", "denoising")]
    form = "n1-dynamic-fp32.onnx"
    assert names == [f"small-{form}", f"small-infer-{form}", f"small-denoising-{form}"]
