"""Split bundles: three graphs that together are the network, at any number of iterations."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, ExportError
from nafnet_deploy.export import run as export_run
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import HEAD, STEP, TAIL, Bundle, open_bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.run import run_parity
from nafnet_deploy.released import find_bundle
from tests.exports import quick_export
from tests.tiny import RR, tiny_checkpoint
from tests.weights import seeded, stir


def restored(bundle: Bundle, n: int, batch: np.ndarray) -> np.ndarray:
    with open_engine("onnxruntime", bundle, n) as engine:
        return restore_batch(engine, batch)


@pytest.mark.parametrize("shape", [(1, 3, 64, 80), (3, 3, 40, 24)])
def test_split_and_unrolled_give_the_same_picture_at_every_n(
    tiny: Path, tiny_split: Path, shape: tuple[int, int, int, int]
) -> None:
    batch = natural_batch(shape, 1)
    whole, parts = find_bundle(tiny), find_bundle(tiny_split)
    for n in range(1, whole.manifest.iterations + 1):
        np.testing.assert_allclose(restored(parts, n, batch), restored(whole, n, batch), atol=1e-6)


def test_it_runs_more_iterations_than_were_proved(tiny_split: Path) -> None:
    batch = natural_batch((1, 3, 32, 32), 0)
    wanted = reference(tiny_checkpoint().network())(batch, 9)[-1]
    np.testing.assert_allclose(restored(find_bundle(tiny_split), 9, batch), wanted, atol=1e-5)


def test_every_trained_weight_is_in_one_part_alone(tiny: Path, tiny_split: Path) -> None:
    bundle = find_bundle(tiny_split)
    parts = [onnx.load(bundle.part(name)).graph.initializer for name in (HEAD, STEP, TAIL)]
    for left, right in itertools.combinations(parts, 2):
        shared = {w.name for w in left} & {w.name for w in right}
        # what they share are constants of a width: 1/c, ones, the reflection of the trunk; and the norms' epsilon
        constants = (".mean", ".ones", ".read", ".write")
        assert all(name.endswith(constants) or name.startswith("val_") for name in shared), shared
    sizes = sum(len(w.SerializeToString()) for part in parts for w in part)
    unrolled = sum(len(w.SerializeToString()) for w in onnx.load(tiny).graph.initializer)
    assert sizes <= unrolled + 2500


def test_inner_sizes_are_written_as_fractions_of_the_input(tiny_split: Path) -> None:
    features = find_bundle(tiny_split).manifest.parts[HEAD].outputs[0]
    assert (features.name, features.shape) == ("features", ("batch", 16, "height/4", "width/4"))


def test_what_the_steps_share_comes_from_the_head(tiny_split: Path) -> None:
    """The mean square of the features, and what the convs of both halves of the gate make of them."""
    parts = find_bundle(tiny_split).manifest.parts
    shared = {spec.name: spec.shape[1] for spec in parts[STEP].inputs if spec.name.startswith("context")}
    assert shared == {"context_0": 1, "context_1": 16, "context_2": 16}
    assert set(shared) < {spec.name for spec in parts[HEAD].outputs}
    assert not set(shared) & {spec.name for spec in parts[TAIL].inputs}


def test_delta_is_the_root_mean_square_change_of_the_state(tiny_split: Path) -> None:
    import onnxruntime

    bundle = find_bundle(tiny_split)
    rng = np.random.default_rng(0)
    inputs = bundle.manifest.parts[STEP].inputs
    feeds = {spec.name: rng.random((2, spec.shape[1], 5, 7), np.float32) for spec in inputs}  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(str(bundle.part(STEP)), providers=["CPUExecutionProvider"])
    after, delta = session.run(["state_next", "delta"], feeds)
    np.testing.assert_allclose(delta, np.sqrt(((after - feeds["state"]) ** 2).mean(axis=(1, 2, 3))), rtol=1e-5)


@pytest.mark.parametrize("position", ["encoder", "decoder"])
def test_the_unit_may_sit_at_any_one_place(tmp_path: Path, position: str) -> None:
    config = dataclasses.replace(RR, positions=(position,))
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "tiny", "", {})
    bundle = quick_export(checkpoint, ExportRecipe(mode="split", output=str(tmp_path)), proof=True)
    assert bundle.manifest.parity["max_abs_error"] < 2e-5
    assert bundle.graph.name == "tiny-split-dynamic-fp32.onnx"


def test_local_means_of_any_size_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tlc in steps is possible at a fixed size alone"):
        export_bundle(tiny_checkpoint(), ExportRecipe(mode="split", tlc=32, output=str(tmp_path / "new")))
    assert not list(tmp_path.iterdir())


def test_units_at_several_places_are_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(RR, positions=("encoder", "middle"))
    checkpoint = Checkpoint(seeded(config).state_dict(), config, "tiny", "", {})
    with pytest.raises(ConfigError, match=r"2 places.*--mode unrolled"):
        export_bundle(checkpoint, ExportRecipe(mode="split", output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_half_bundle_is_proved_in_its_own_arithmetic(tmp_path: Path) -> None:
    recipe = ExportRecipe(mode="split", precision="fp16", iterations=2, output=str(tmp_path))
    bundle = quick_export(tiny_checkpoint(), recipe, proof=True)
    assert bundle.manifest.parity["min_psnr"] > 60
    types = {spec.name: spec.dtype for spec in bundle.manifest.parts[STEP].inputs}
    assert types["state"] == types["features"] == types["context_1"] == "float16"
    assert types["context_0"] == "float32", "the mean of squares"
    assert run_parity(bundle)  # the oracle runs the three parts one after the other


def test_a_fixed_shape_splits_too(tmp_path: Path) -> None:
    recipe = ExportRecipe(mode="split", imgsz="32x48", batch=1, iterations=2, output=str(tmp_path))
    bundle = quick_export(tiny_checkpoint(), recipe, proof=True)
    assert bundle.manifest.parts[TAIL].inputs[1].shape == (1, 16, 8, 12)


def test_a_split_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export_run.split_graph

    def broken(*arguments: object) -> dict[str, onnx.ModelProto]:
        parts = real(*arguments)  # type: ignore[arg-type]
        bias = max((w for w in parts[STEP].graph.initializer if len(w.dims) == 1), key=lambda w: w.dims[0])
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        return parts

    monkeypatch.setattr(export_run, "split_graph", broken)
    with pytest.raises(ExportError, match="does not compute"):
        export_bundle(tiny_checkpoint(), ExportRecipe(mode="split", output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_any_file_of_the_bundle_opens_it(tiny_split: Path) -> None:
    bundle = open_bundle(tiny_split)
    for path in bundle.graphs.values():
        assert open_bundle(path).graph == bundle.graph


def test_a_changed_or_missing_part_is_refused(tiny_split: Path, tmp_path: Path) -> None:
    for path in tiny_split.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    step = tmp_path / "split.step.onnx"
    good = step.read_bytes()
    step.write_bytes(good + b"\0")
    with pytest.raises(EngineError, match="hash differs"):
        open_bundle(tmp_path / "split.json")
    step.unlink()
    with pytest.raises(CheckpointError, match=r"split.step.onnx does not exist"):
        open_bundle(tmp_path / "split.json")
