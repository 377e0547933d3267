"""Stereo super-resolution as a graph: both precisions, a plan, and `nafdeploy run LEFT RIGHT`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.engines.build import run_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.models.layers import Enlarge
from nafnet_deploy.runtime.restorer import Restorer
from tests.variants import STEREO
from tests.weights import seeded, stir


def checkpoint() -> Checkpoint:
    return Checkpoint(stir(seeded(STEREO)).state_dict(), STEREO, "stereo", "", {"source": "test"})


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("stereo")
    return export_bundle(checkpoint(), ExportRecipe(precision=request.param, output=str(folder)))


def write_pair(folder: Path, right: tuple[int, int] = (48, 36)) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    paths = folder / "left.png", folder / "right.png"
    for path, (width, height) in zip(paths, ((48, 36), right), strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 33)])
@torch.inference_mode()
def test_enlarging_by_convolution_is_bilinear(scale: int, size: tuple[int, int]) -> None:
    x, network = torch.rand(2, 6, *size), torch.nn.Sequential(Enlarge(6, scale))
    assert (fold(network)(x) - network(x)).abs().max() < 3e-6


@torch.inference_mode()
def test_folded_form_gives_the_same_pictures() -> None:
    network, x = checkpoint().network(), torch.rand(2, 6, 12, 20)
    assert (fold(network)(x) - network(x)).abs().max() < 2e-6


def test_export_proves_itself_and_states_what_it_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.scale, manifest.size_multiple, manifest.model.views) == (2, 1, 2)
    assert manifest.inputs[0].shape == ("batch", 6, "height", "width")
    assert manifest.outputs[0].shape == ("batch", 6, "2*height", "2*width")
    assert manifest.activation_bytes_per_column > 3
    assert manifest.parity.get("min_psnr", 100) > 70


def test_plan_builds(bundle: Bundle, tmp_path: Path) -> None:
    recipe = BuildRecipe(gpus=("sm86",), max_shape="1x270x480", output=str(tmp_path))
    manifest = run_build(bundle, recipe, load_library("tensorrt-rtx")).file.manifest
    assert (manifest.precision_built, manifest.warnings) == (bundle.manifest.precision, ())


def test_two_pictures_become_two_larger_ones(bundle: Bundle, tmp_path: Path) -> None:
    left, right = write_pair(tmp_path)
    assert execute(["run", str(left), str(right), "-m", str(bundle.graph), "--engine", "onnxruntime"]) == 0
    views = [np.asarray(Image.open(path)) / np.float32(255) for path in (left, right)]
    batch = np.concatenate(views, axis=2).transpose(2, 0, 1)[None].astype(np.float32)
    expected = np.clip(reference(checkpoint().network())(batch, 1)[0][0], 0, 1).transpose(1, 2, 0)
    for name, wanted in (("left", expected[..., :3]), ("right", expected[..., 3:])):
        found = np.asarray(Image.open(tmp_path / f"{name}_restored.png"))
        assert found.shape == (72, 96, 3)
        assert np.abs(found / 255 - wanted).max() < (0.003 if bundle.manifest.precision == "fp32" else 0.02)


def test_little_memory_makes_bands_of_full_width(bundle: Bundle) -> None:
    with open_engine("onnxruntime", bundle, 1) as engine:
        whole, banded = Restorer(engine, bundle.manifest), Restorer(engine, bundle.manifest, memory=1)
        assert len(whole.plan(200, 300)) == 1
        plan = banded.plan(200, 300)
        assert plan.tile == (bundle.manifest.tile_least, 300)
        assert len(plan) > 1
        wide = bundle.manifest.activation_bytes_per_pixel + 3000 * bundle.manifest.activation_bytes_per_column
        tall, across = Restorer(engine, bundle.manifest, memory=int(wide * 3000 * 100)).plan(1000, 3000).tile
        assert across == 3000
        assert 90 < tall <= 100


def test_bad_pairs(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = write_pair(tmp_path, right=(48, 40))
    before = sorted(tmp_path.iterdir())
    model = ["-m", str(bundle.graph), "--engine", "onnxruntime"]
    for arguments, words in (
        ([str(left), str(right), *model], "48x36 pixels and right.png 48x40: the views of a stereo pair"),
        ([str(left), *model], "LEFT RIGHT"),
        ([str(left), str(right)], "restores single pictures"),
        ([str(left), str(tmp_path / "none.png"), *model], "does not exist"),
        ([str(left), str(right), *model, "-o", str(tmp_path / "one.png")], "not a folder"),
    ):
        assert execute(["run", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
