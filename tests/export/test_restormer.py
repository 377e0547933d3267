"""Restormer as a graph: both precisions, a plan, and `nafdeploy run`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.engines.build import run_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import reference
from nafnet_deploy.manifest import Bundle
from tests.exports import quick_export
from tests.variants import RESTORMER
from tests.weights import seeded, stir


def checkpoint() -> Checkpoint:
    return Checkpoint(stir(seeded(RESTORMER)).state_dict(), RESTORMER, "small", "", {"source": "test"})


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("restormer")
    return quick_export(checkpoint(), ExportRecipe(precision=request.param, output=str(folder)), proof=True)


@torch.inference_mode()
def test_folded_form_gives_the_same_pictures() -> None:
    network, x = checkpoint().network(), torch.rand(2, 3, 16, 24)
    folded = fold(network)
    assert (folded(x) - network(x)).abs().max() < 2e-6
    assert folded is not network


def test_export_proves_itself_and_states_what_it_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.scale, manifest.size_multiple, manifest.padding) == (1, 4, "reflect")
    assert manifest.inputs[0].shape == ("batch", 3, "height", "width")
    assert manifest.parity.get("min_psnr", 100) > 70


def types_of(model: onnx.ModelProto, kind: str, place: int = 0) -> Counter[int]:
    """How often the operators of a kind read each element type, by shape inference."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    return Counter(types[node.input[place]] for node in inferred.node if node.op_type == kind)


def test_lengths_products_and_softmax_stay_float32(bundle: Bundle) -> None:
    model, blocks = onnx.load(bundle.graph), 6
    half, wide = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert types_of(model, "Softmax") == {wide: blocks}
    assert types_of(model, "ReduceL2") == {wide: 2 * blocks}
    read = half if bundle.manifest.precision == "fp16" else wide
    assert types_of(model, "MatMul") == Counter([wide] * blocks + [read] * blocks)  # products; reading the values


def test_plan_builds(bundle: Bundle, tmp_path: Path) -> None:
    recipe = BuildRecipe(gpus=("sm86",), max_shape="1x512x512", output=str(tmp_path))
    manifest = run_build(bundle, recipe, load_library("tensorrt-rtx")).file.manifest
    assert (manifest.precision_built, manifest.warnings) == (bundle.manifest.precision, ())


def test_a_picture_of_any_size_is_restored(bundle: Bundle, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert execute(["run", str(tmp_path / "a.png"), "-m", str(bundle.graph), "--engine", "onnxruntime"]) == 0
    padded = np.pad(pixels, ((0, 3), (0, 2), (0, 0)), mode="reflect") / np.float32(255)
    batch = padded.transpose(2, 0, 1)[None].astype(np.float32)
    expected = np.clip(reference(checkpoint().network())(batch, 1)[0][0], 0, 1).transpose(1, 2, 0)[:21, :30]
    found = np.asarray(Image.open(tmp_path / "a_restored.png")) / 255
    assert np.abs(found - expected).max() < (0.003 if bundle.manifest.precision == "fp32" else 0.02)
    assert np.abs(found - pixels / 255).max() > 0.02
