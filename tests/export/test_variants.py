"""Every variant of the block as a graph, in both precisions, at every iteration."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint, load_checkpoint, save_checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.config import POSITIONS
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.graph import half_share
from nafnet_deploy.export.precision import plan_half, to_half
from nafnet_deploy.export.ranges import TRUNK, scan
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.attention import ChannelConv
from nafnet_deploy.models.registry import pictures
from nafnet_deploy.parity.inputs import natural_batch
from tests.export.half import half_graph, run_half, types_of
from tests.exports import quick_export
from tests.plain_formulas import restore
from tests.variants import PARTS, RR, variant
from tests.weights import seeded, stir

BOTH = list(product(PARTS, (False, True)))


def checkpoint_of(name: str, reasoning: bool, positions: tuple[str, ...] = POSITIONS) -> Checkpoint:
    config = variant(name, reasoning)
    if reasoning:
        config = dataclasses.replace(config, positions=positions)
    return Checkpoint(stir(seeded(config)).state_dict(), config, "variant", "", {"source": "test"})


@pytest.mark.parametrize(("name", "reasoning"), BOTH)
@torch.inference_mode()
def test_folded_form_gives_the_same_pictures(name: str, reasoning: bool) -> None:
    network = checkpoint_of(name, reasoning).network()
    folded = fold(network)
    assert not any(isinstance(m, ChannelConv) for m in folded.modules())
    x = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(1))
    n = network.config.iterations
    for before, after in zip(pictures(network, x, n), pictures(folded, x, n), strict=True):
        assert torch.allclose(before, after, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("name", "reasoning"), [*((name, True) for name in PARTS), ("wide baseline", False)])
def test_checkpoint_becomes_a_graph_that_agrees_with_the_formulas(name: str, reasoning: bool, tmp_path: Path) -> None:
    # one place is enough for the graph: the folded forms of all places were compared above
    save_checkpoint(checkpoint_of(name, reasoning, ("middle",)), tmp_path / "variant.safetensors")
    checkpoint = load_checkpoint(tmp_path / "variant.safetensors")
    bundle = quick_export(checkpoint, ExportRecipe(output=str(tmp_path)))
    x = natural_batch((3, 3, 32, 48), 1)
    kinds = {node.op_type for node in onnx.load(bundle.graph).graph.node}
    assert not kinds & {"Split", "Transpose", "LayerNormalization"}
    for n in range(1, bundle.manifest.iterations + 1):
        expected = restore(checkpoint.config, checkpoint.weights, torch.from_numpy(x), n).numpy()
        with open_engine("onnxruntime", bundle, n) as engine:
            assert np.abs(restore_batch(engine, x) - expected).max() < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_enlarging_network_becomes_a_graph(precision: str, tmp_path: Path) -> None:
    config = dataclasses.replace(RR, positions=("middle",), scale=3)
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "enlarging", "", {"source": "test"})
    bundle = quick_export(checkpoint, ExportRecipe(precision=precision, output=str(tmp_path)), proof=True)
    manifest = bundle.manifest
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    assert execute(["run", str(tmp_path / "small.png"), "-m", str(bundle.graph), "--engine", "onnxruntime"]) == 0
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    expected = (
        restore(config, checkpoint.weights, x, manifest.default_iterations)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    )
    found = np.asarray(Image.open(tmp_path / "small_restored.png")) / 255
    assert found.shape == (60, 84, 3)
    assert np.abs(found - expected).max() < (0.003 if precision == "fp32" else 0.02)
    assert (manifest.scale, manifest.outputs[0].shape) == (3, ("batch", 3, "3*height", "3*width"))
    assert manifest.parity.get("min_psnr", 100) > 60


@pytest.mark.parametrize("name", PARTS)
def test_half_graph_is_typed_and_stays_above_60_db(name: str) -> None:
    config = dataclasses.replace(variant(name, reasoning=True), positions=("middle",))
    network = stir(seeded(config)).eval()
    x = natural_batch((1, 3, 16, 16), 1)
    folded = fold(network)
    model = half_graph(to_half(folded, plan_half(scan(folded, [x], 1))), config, 1, 16)
    types_of(model)
    # filters in the frequency domain are float32, and at this size most of the work
    assert half_share(model, {}) > (0.1 if config.frequency_skips else 0.8)
    expected = restore(config, network.state_dict(), torch.from_numpy(x), 1).numpy()
    assert psnr(run_half(model, x), expected) > 60


@pytest.mark.parametrize("name", ["swiglu", "eca", "plain"])
@pytest.mark.slow
def test_half_bundle_proves_itself(name: str, tmp_path: Path) -> None:
    bundle = export_bundle(checkpoint_of(name, reasoning=True), ExportRecipe(precision="fp16", output=str(tmp_path)))
    assert bundle.manifest.parity["min_psnr"] > 60


def test_blocks_without_a_norm_stay_float32_where_the_trunk_is_large() -> None:
    plain, normed = (fold(stir(seeded(variant(name)))) for name in ("plain", "baseline"))
    for folded in (plain, normed):
        folded.intro.weight *= 1e5
    x = [natural_batch((1, 3, 32, 32), 0)]
    assert {TRUNK, "encoders.0.0"} < set(scan(plain, x, 1).dangers())
    assert "encoders.0.0" not in scan(normed, x, 1).dangers()
