"""The models that travel in the package do what their names promise."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from nafnet_deploy.checkpoints.catalogue import load_model, released_checkpoints
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.export.run import reference
from nafnet_deploy.manifest import bundle_file
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.run import run_parity
from nafnet_deploy.released import DEFAULT_MODEL, find_bundle, released_models, weights_folder
from nafnet_deploy.runtime.restorer import Restorer

MODELS = released_models()
MAX_BYTES = 20_000_000
"""Largest file that the package carries."""


def test_the_default_model_is_released() -> None:
    assert DEFAULT_MODEL in MODELS


def test_every_graph_has_its_checkpoint() -> None:
    assert released_checkpoints() == MODELS


def test_the_folder_holds_whole_bundles_of_small_files_and_nothing_else() -> None:
    suffixes = (".onnx", ".json", ".golden.npz", ".safetensors")
    files = sorted(path for path in weights_folder().iterdir() if path.suffix != ".md")
    assert [path.name for path in files] == sorted(name + suffix for name in MODELS for suffix in suffixes)
    assert max(path.stat().st_size for path in files) < MAX_BYTES


@pytest.mark.parametrize("name", MODELS)
def test_its_manifest_says_what_the_file_is(name: str) -> None:
    manifest = find_bundle(name).manifest
    assert manifest.name == manifest.exported_from == name
    assert (manifest.iterations, manifest.default_iterations) == (5, 3)
    assert manifest.inputs[0].shape == ("batch", 3, "height", "width")
    assert manifest.task
    assert manifest.provenance


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_gives_its_golden_pictures_at_every_iteration(name: str) -> None:
    report = run_parity(find_bundle(name))
    assert report, report.verdict()
    assert report.reference == "golden"
    assert {row.iteration for row in report.rows} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", MODELS)
def test_checkpoint_and_graph_are_the_same_network(name: str) -> None:
    bundle, checkpoint = find_bundle(name), load_model(name)
    assert checkpoint.config == bundle.manifest.model
    assert bundle_file(bundle.graph, ".safetensors").is_file()
    shapes = ((1, 3, 64, 64), (3, 3, 40, 52))
    report = run_parity(bundle, reference(checkpoint.network()), shapes=shapes)
    assert report, report.verdict()
    assert {row.iteration for row in report.rows} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("denoise")])
def test_a_denoiser_cleans_a_photograph_it_has_never_seen(name: str) -> None:
    clean = np.asarray(data.chelsea(), np.float32) / 255
    noise = np.random.default_rng(0).normal(scale=25 / 255, size=clean.shape)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    bundle = find_bundle(name)
    with open_engine("onnxruntime", bundle, bundle.manifest.default_iterations) as engine:
        restored = Restorer(engine, bundle.manifest)(noisy)
    assert psnr(restored, clean) > psnr(noisy, clean) + 5


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("deblur")])
def test_a_deblurrer_sharpens_a_photograph_it_has_never_seen_and_gains_from_iterations(name: str) -> None:
    clean = np.asarray(data.chelsea(), np.float32) / 255
    blurred = Degradation(type="motion")(clean, np.random.default_rng(0))
    bundle = find_bundle(name)
    scores = []
    for n in (1, bundle.manifest.default_iterations):
        with open_engine("onnxruntime", bundle, n) as engine:
            scores.append(psnr(Restorer(engine, bundle.manifest)(blurred), clean))
    assert scores[0] > psnr(blurred, clean) + 1
    assert scores[1] > scores[0]
