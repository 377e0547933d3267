"""A bundle is proved, complete and portable, or it is not there."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from nafnet_deploy.checkpoints.catalogue import load_model, random_model
from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import ConfigError, EngineError, ExportError, UsageError
from nafnet_deploy.export import run as export_run
from nafnet_deploy.export.recipe import ExportRecipe, read_export_recipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import Bundle, open_bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.tolerance import LIMITS, Limits
from tests.exports import quick_export
from tests.weights import seeded, stir

RR = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("encoder", "middle", "decoder"),
    reasoning_blocks=1,
    iterations=3,
)
SMALL = dataclasses.replace(RR, positions=("middle",), iterations=2)
PLAIN = ModelConfig(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


def checkpoint_of(config: ModelConfig, name: str = "tiny") -> Checkpoint:
    return Checkpoint(stir(seeded(config)).state_dict(), config, name, "denoising", {"source": "test"})


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Bundle]:
    checkpoint = checkpoint_of(RR)
    folder = tmp_path_factory.mktemp("bundle")
    return checkpoint, export_bundle(checkpoint, ExportRecipe(output=str(folder)))


def test_every_iteration_agrees_with_pytorch_at_three_shapes_and_batches_1_and_3(
    dynamic: tuple[Checkpoint, Bundle],
) -> None:
    checkpoint, bundle = dynamic
    compute = reference(checkpoint.network())
    for n in (1, 2, 3):
        with open_engine("onnxruntime", bundle, n) as engine:
            for batch in (1, 3):
                for size in ((64, 64), (20, 52), (128, 96)):
                    x = natural_batch((batch, 3, *size), seed=n)
                    expected = compute(x, n)[-1]
                    assert np.abs(expected - x).max() > 1e-3
                    assert np.abs(restore_batch(engine, x) - expected).max() < 2e-5


def test_iterations_of_one_graph_differ(dynamic: tuple[Checkpoint, Bundle]) -> None:
    x = natural_batch((1, 3, 32, 32), seed=0)
    results = []
    for n in (1, 2, 3):
        with open_engine("onnxruntime", dynamic[1], n) as engine:
            results.append(restore_batch(engine, x))
    assert np.abs(results[0] - results[1]).max() > 1e-4
    assert np.abs(results[1] - results[2]).max() > 1e-5


def test_graph_holds_no_split_no_layer_norm_and_no_reduction_over_pixels(dynamic: tuple[Checkpoint, Bundle]) -> None:
    model = onnx.load(dynamic[1].graph)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Split", "LayerNormalization", "Slice", "ReduceMean", "Transpose"}
    assert "GlobalAveragePool" in kinds
    assert not model.metadata_props
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)


def test_five_iterations_grow_the_file_by_less_than_a_tenth(tmp_path: Path) -> None:
    light = random_model("light")
    sizes, weights = [], []
    for n in (1, 5):
        bundle = quick_export(light, ExportRecipe(iterations=n, output=str(tmp_path)))
        sizes.append(bundle.graph.stat().st_size)
        weights.append(len(onnx.load(bundle.graph).graph.initializer))
    assert weights[0] == weights[1]
    assert sizes[1] < 1.1 * sizes[0]


def test_bundle_is_three_files_named_after_model_iterations_shape_and_precision(
    dynamic: tuple[Checkpoint, Bundle],
) -> None:
    folder = dynamic[1].graph.parent
    stem = "tiny-n3-dynamic-fp32"
    assert sorted(p.name for p in folder.iterdir()) == [f"{stem}.golden.npz", f"{stem}.json", f"{stem}.onnx"]
    manifest = open_bundle(folder / f"{stem}.onnx").manifest
    assert manifest.model == RR
    assert manifest.parity["max_abs_error"] < 2e-5
    assert manifest.inputs[0].shape == ("batch", 3, "height", "width")
    assert manifest.padding == "reflect"
    assert manifest.size_multiple == 4


def test_fixed_size_and_batch_are_in_the_graph(tmp_path: Path) -> None:
    bundle = export_bundle(checkpoint_of(PLAIN), ExportRecipe(imgsz="32x48", batch=2, output=str(tmp_path)))
    assert bundle.graph.name == "tiny-n1-32x48-b2-fp32.onnx"
    assert bundle.manifest.inputs[0].shape == bundle.manifest.outputs[0].shape == (2, 3, 32, 48)
    with open_engine("onnxruntime", bundle) as engine, pytest.raises(EngineError):
        restore_batch(engine, natural_batch((1, 3, 32, 48), 0))


def test_plain_network_refuses_iterations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no reasoning"):
        export_bundle(checkpoint_of(PLAIN), ExportRecipe(iterations=2, output=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_size_off_the_multiple_names_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="32x52"):
        export_bundle(checkpoint_of(PLAIN), ExportRecipe(imgsz="30x50", output=str(tmp_path)))


def test_graph_that_fails_its_proof_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "fp32", Limits(max_abs_error=1e-30))
    with pytest.raises(ExportError, match="does not compute"):
        export_bundle(checkpoint_of(SMALL), ExportRecipe(output=str(tmp_path / "new")))
    assert list(tmp_path.iterdir()) == []


def test_wrong_weight_in_the_graph_fails_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = export_run.fold

    def faulty(network: object) -> object:
        folded = honest(network)
        folded.middle_blks[0].project.weight[0] += 0.05  # a lone weight may meet a channel that is almost 0
        return folded

    monkeypatch.setattr(export_run, "fold", faulty)
    with pytest.raises(ExportError, match="does not compute"):
        export_bundle(checkpoint_of(SMALL), ExportRecipe(output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_exporter_failure_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export_bundle(checkpoint_of(PLAIN), ExportRecipe(opset=999, output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_output_below_a_file_is_a_usage_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(UsageError):
        export_bundle(checkpoint_of(PLAIN), ExportRecipe(output=str(blocker / "below")))


def test_recipe_keys_are_strict_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('model = "light"\niterations = 2\n')
    assert read_export_recipe(path, {"iterations": 4, "opset": None}) == ExportRecipe(model="light", iterations=4)
    path.write_text('presicion = "fp16"\n')
    with pytest.raises(ConfigError, match="'precision'"):
        read_export_recipe(path, {})


@pytest.mark.parametrize(
    "bad",
    [{"iterations": 0}, {"imgsz": "big"}, {"imgsz": "0"}, {"batch": 0}, {"batch": "some"}, {"opset": 9}],
)
def test_impossible_recipe_values_are_named(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        read_export_recipe(None, bad)


@pytest.mark.parametrize("path", sorted(Path("export").glob("*.toml")), ids=lambda p: p.name)
def test_committed_recipe_reads_and_names_a_model_that_exists(path: Path) -> None:
    load_model(read_export_recipe(path, {}).model)
