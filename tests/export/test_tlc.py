"""Local means in exported graphs: below, at and beyond the window, free and fixed sizes, both precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.recipe import ExportRecipe, read_export_recipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.oracle import OracleEngine
from tests.exports import quick_export
from tests.variants import PLAIN, STEREO
from tests.weights import seeded, stir

WINDOW = 32


def checkpoint() -> Checkpoint:
    return Checkpoint(stir(seeded(PLAIN)).state_dict(), PLAIN, "local", "", {"source": "test"})


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quick_export(checkpoint(), ExportRecipe(tlc=WINDOW, output=str(tmp_path_factory.mktemp("tlc"))))


@pytest.mark.parametrize("size", [(16, 20), (32, 32), (32, 64), (20, 72), (72, 20), (64, 96), (4, 4)])
def test_one_graph_is_right_at_every_size(free: Bundle, size: tuple[int, int]) -> None:
    x = natural_batch((2, 3, *size), 0)
    (expected,) = reference(localise(checkpoint().network(), PLAIN, WINDOW))(x, 1)
    (everywhere,) = reference(checkpoint().network())(x, 1)
    with open_engine("onnxruntime", free, 1) as engine:
        found = restore_batch(engine, x)
    assert np.abs(found - expected).max() < 1e-5
    assert (np.abs(found - everywhere).max() > 1e-5) == (max(size) > WINDOW)


def test_a_graph_for_any_size_says_nothing_of_the_sizes_that_its_window_bounds(tmp_path: Path, free: Bundle) -> None:
    assert not onnx.load(free.graph).graph.value_info
    fixed = quick_export(checkpoint(), ExportRecipe(tlc=WINDOW, imgsz="64", batch=1, output=str(tmp_path)))
    assert onnx.load(fixed.graph).graph.value_info
    # beyond any size at which the export works sizes out
    wide = quick_export(checkpoint(), ExportRecipe(tlc=192, output=str(tmp_path)))
    x = natural_batch((1, 3, 16, 256), 0)
    (expected,) = reference(localise(checkpoint().network(), PLAIN, 192))(x, 1)
    with open_engine("onnxruntime", wide, 1) as engine:
        assert np.abs(restore_batch(engine, x) - expected).max() < 1e-5


def test_a_stereo_network_takes_them_too(tmp_path: Path) -> None:
    pair = Checkpoint(stir(seeded(STEREO)).state_dict(), STEREO, "pair", "", {"source": "test"})
    compute = reference(localise(pair.network(), STEREO, WINDOW))
    bundle = quick_export(pair, ExportRecipe(tlc=WINDOW, output=str(tmp_path)))
    with open_engine("onnxruntime", bundle, 1) as engine:
        for shape in ((1, 6, 20, 72), (3, 6, 33, 16)):
            x = natural_batch(shape, 0)
            assert np.abs(restore_batch(engine, x) - compute(x, 1)[0]).max() < 1e-5


def test_manifest_and_name_tell_the_window(free: Bundle) -> None:
    assert free.manifest.tlc == WINDOW
    assert free.graph.name == "local-n1-dynamic-tlc32-fp32.onnx"
    assert free.manifest.activation_bytes_per_pixel > 0


def test_graph_has_no_control_flow_and_no_prefix_sums(free: Bundle) -> None:
    kinds = {node.op_type for node in onnx.load(free.graph).graph.node}
    assert not kinds & {"If", "Loop", "Scan", "CumSum"}
    assert "AveragePool" in kinds


def test_fixed_size_within_the_window_keeps_the_global_pool(tmp_path: Path) -> None:
    inside = quick_export(checkpoint(), ExportRecipe(tlc=WINDOW, imgsz="32", output=str(tmp_path)))
    kinds = {node.op_type for node in onnx.load(inside.graph).graph.node}
    assert "GlobalAveragePool" in kinds
    assert "AveragePool" not in kinds


def test_half_graph_takes_its_local_means_in_float32(tmp_path: Path) -> None:
    recipe = ExportRecipe(tlc=WINDOW, precision="fp16", output=str(tmp_path))
    bundle = quick_export(checkpoint(), recipe, proof=True)
    compute = reference(localise(checkpoint().network(), PLAIN, WINDOW))
    with OracleEngine.open(bundle) as engine:
        x = natural_batch((1, 3, 48, 64), 0)
        assert psnr(restore_batch(engine, x), compute(x, 1)[0]) > 60
    with open_engine("onnxruntime", bundle, 1) as engine:
        bright = np.full((1, 3, 600, 700), 100.0, np.float32)
        assert np.isfinite(restore_batch(engine, bright)).all()


def test_impossible_windows_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tlc"):
        read_export_recipe(None, {"tlc": -1})
    with pytest.raises(ConfigError, match="tlc = 3"):
        export_bundle(checkpoint(), ExportRecipe(tlc=3, output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
