"""Half graphs: what is float16 in them, what is not, and that they still are the network."""

import dataclasses
import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nafnet_deploy.checkpoints.catalogue import random_model
from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.base import restore_batch
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import ConfigError, ExportError
from nafnet_deploy.export import proof
from nafnet_deploy.export import run as export_run
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.precision import STANDARD_ISLANDS, HalfPlan, agreement, round_weights, to_half
from nafnet_deploy.export.ranges import STATE, TRUNK
from nafnet_deploy.export.recipe import ExportRecipe, read_export_recipe
from nafnet_deploy.export.run import export_bundle, reference
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.report import ParityReport
from nafnet_deploy.parity.run import run_parity
from tests.export.half import FLOATS, half_graph, types_of
from tests.exports import quick_export
from tests.variants import STEREO
from tests.weights import seeded, stir

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
RR = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("middle",),
    reasoning_blocks=0,
    iterations=5,
)


@functools.cache
def checkpoint() -> Checkpoint:
    return Checkpoint(stir(seeded(RR)).state_dict(), RR, "tiny", "denoising", {"source": "test"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("half")
    return export_bundle(checkpoint(), ExportRecipe(precision="fp16", output=str(folder)))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quick_export(checkpoint(), ExportRecipe(output=str(tmp_path_factory.mktemp("full"))))


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(bundle.graph)


def test_every_operator_reads_one_float_type_and_only_casts_change_it(graph: onnx.ModelProto) -> None:
    types = types_of(graph)
    for node in graph.graph.node:
        read = {types[name] for name in node.input if name and types[name] in FLOATS}
        assert len(read) <= 1, f"{node.name} mixes types"
        if node.op_type != "Cast" and read:
            assert {types[name] for name in node.output if types[name] in FLOATS} <= read, node.name


def test_convolutions_are_half_but_for_sums_over_channels(graph: onnx.ModelProto) -> None:
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in graph.graph.initializer}
    kinds = {"half": 0, "mean": 0}
    for node in graph.graph.node:
        if node.op_type == "Conv":
            weight = weights[node.input[1]]
            if weight.dtype == np.float16:
                kinds["half"] += 1
            else:
                assert 1 in weight.shape[:2], f"{node.name} is wide and neither of a norm nor of a reflection"
                kinds["mean"] += 1
    assert kinds["half"] > kinds["mean"] > 0


def test_islands_are_float32_and_products_are_half(graph: onnx.ModelProto) -> None:
    types = types_of(graph)
    found: dict[str, set[int]] = {}
    for node in graph.graph.node:
        found.setdefault(node.op_type, set()).add(types[node.output[0]])
    for statistic in ("Sqrt", "Reciprocal", "GlobalAveragePool"):
        assert found[statistic] == {FLOAT}
    assert found["Sigmoid"] == found["DepthToSpace"] == {HALF}


def test_picture_goes_in_and_out_in_float32_and_the_global_skip_joins_it_unrounded(graph: onnx.ModelProto) -> None:
    (source,), (result,) = graph.graph.input, graph.graph.output
    assert source.type.tensor_type.elem_type == result.type.tensor_type.elem_type == FLOAT
    last = next(node for node in graph.graph.node if result.name in node.output)
    assert last.op_type == "Add"
    assert source.name in last.input


def test_every_weight_is_stored_once_at_any_number_of_iterations() -> None:
    light = random_model("light")
    half = to_half(fold(light.network()), HalfPlan(trunk=False, state=False, reasons={}))
    graphs = [half_graph(half, light.config, n, 32) for n in (1, 5)]
    for model in graphs:
        large = [w.raw_data for w in model.graph.initializer if len(w.raw_data) > 256 and w.data_type == HALF]
        assert len(set(large)) == len(large), "a weight is there twice"
    assert len(graphs[0].graph.initializer) == len(graphs[1].graph.initializer)
    assert graphs[1].ByteSize() < 1.1 * graphs[0].ByteSize()
    assert graphs[0].ByteSize() < 0.55 * sum(tensor.nbytes for tensor in light.weights.values())


def test_every_iteration_can_be_cut_out_and_stays_within_70_db_of_pytorch(bundle: Bundle) -> None:
    for against in (None, reference(checkpoint().network())):
        report = run_parity(bundle, against)
        assert report
        assert {row.iteration for row in report.rows} == {1, 2, 3, 4, 5}
        assert report.min_psnr > 70
        worst = [min(r.difference.psnr or math.inf for r in report.rows if r.iteration == n) for n in range(1, 6)]
        assert max(worst) - min(worst) < 1, "the error grows with the iterations"
        assert report.engine == "onnx reference evaluator"
        assert "rounded every float16 operator" in report.arithmetic


def test_onnx_runtime_runs_the_graph_and_the_report_says_that_it_computes_in_float32(bundle: Bundle) -> None:
    report = run_parity(bundle, engine="onnxruntime")
    assert report
    assert "rounding of the weights alone" in report.arithmetic
    assert report.min_psnr > run_parity(bundle).min_psnr


def test_manifest_tells_the_islands_the_share_and_the_ranges(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.precision == "fp16"
    assert manifest.float32_islands == STANDARD_ISLANDS
    assert 0.8 < manifest.half_share < 1
    assert manifest.calibration == "seeded pictures"
    assert set(manifest.ranges) == {
        "norm input", "squared deviation", "gate product", "conv output", "channel mean", "attended product",
        "reasoning input", TRUNK, STATE,
    }  # fmt: skip
    assert all(len(v) == 5 and min(v) > 0 for v in manifest.ranges.values())
    assert manifest.parity["graph_max_abs_error"] < 2e-5
    assert manifest.parity["min_psnr"] > 70


def test_memory_plan_counts_two_bytes_for_half_values(bundle: Bundle, full: Bundle) -> None:
    share = bundle.manifest.activation_bytes_per_pixel / full.manifest.activation_bytes_per_pixel
    assert 0.5 <= share < 0.9  # more than half: the islands' values are float32
    assert full.manifest.float32_islands == full.manifest.ranges == {}
    assert full.manifest.half_share == 0


def test_float32_graph_holds_no_cast_and_no_half(full: Bundle) -> None:
    model = onnx.load(full.graph)
    assert not [node.name for node in model.graph.node if node.op_type == "Cast"]
    assert HALF not in types_of(model).values()


def test_float32_trunk_on_request_lowers_the_error(bundle: Bundle, tmp_path: Path) -> None:
    told: list[str] = []
    recipe = ExportRecipe(precision="fp16", fp32_trunk=True, output=str(tmp_path))
    wide = quick_export(checkpoint(), recipe, on_warning=told.append)
    assert not told, "what was asked for is no warning"
    assert {TRUNK, STATE} < set(wide.manifest.float32_islands)
    assert wide.manifest.half_share == bundle.manifest.half_share
    assert run_parity(wide).min_psnr > run_parity(bundle).min_psnr


@pytest.mark.parametrize(("blocks", "wide"), [(2, False), (64, True)])
def test_a_trunk_so_long_that_its_rounding_adds_up_stays_float32(blocks: int, wide: bool, tmp_path: Path) -> None:
    pixels = natural_batch((1, 3, 32, 32), 0)[0].transpose(1, 2, 0)
    Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(tmp_path / "a.png")
    config = dataclasses.replace(STEREO, middle_blocks=blocks)
    deep = Checkpoint(stir(seeded(config)).state_dict(), config, "deep", "", {"source": "test"})
    folded = fold(deep.network())
    half = export_run._choose_islands(folded, deep, ExportRecipe(precision="fp16", calibrate=str(tmp_path)), 1)
    assert (half.ranges.dangers(), half.plan.trunk) == ({}, wide)
    if wide:
        assert re.fullmatch(r"without, .* by 5\d\.\d dB alone", half.plan.reasons[TRUNK])
        assert agreement(folded, half.plan, torch.from_numpy(natural_batch((1, 6, 32, 32), 0)), 1) > export_run.ENOUGH


def test_half_values_that_are_no_numbers_are_no_agreement() -> None:
    folded = fold(checkpoint().network())
    folded.intro.weight.data *= 1e6
    plan = HalfPlan(trunk=False, state=False, reasons={})
    assert math.isnan(agreement(folded, plan, torch.from_numpy(natural_batch((1, 3, 32, 32), 0)), 1))


def test_large_fixed_shape_is_proved_in_half_on_a_small_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "ORACLE_PIXELS", 32 * 32)
    shapes = []

    def watched(*args: Any, **options: Any) -> ParityReport:
        report = run_parity(*args, **options)
        shapes.append({row.shape for row in report.rows})
        return report

    monkeypatch.setattr(proof, "run_parity", watched)
    recipe = ExportRecipe(precision="fp16", imgsz="32x48", batch=2, iterations=2, output=str(tmp_path))
    fixed = export_bundle(checkpoint(), recipe)
    assert shapes == [{(2, 3, 32, 48)}, {(1, 3, 32, 48), (1, 3, 64, 80)}]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"tiny-n2-32x48-b2-fp16.{suffix}" for suffix in ("golden.npz", "json", "onnx")
    ]
    assert fixed.manifest.inputs[0].shape == (2, 3, 32, 48)
    x = natural_batch((2, 3, 32, 48), 7)
    expected = reference(checkpoint().network())(x, 2)
    for n in (1, 2):
        with open_engine("onnxruntime", fixed, n) as engine:
            assert psnr(restore_batch(engine, x), expected[n - 1]) > 70


def test_wrong_weight_cannot_hide_behind_the_rounding(bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(bundle.graph)
    stored = next(w for w in model.graph.initializer if w.name.endswith("intro.conv.weight"))
    weight = onnx.numpy_helper.to_array(stored).copy()
    weight[0, 0, 1, 1] += np.float16(0.0005)
    stored.CopyFrom(onnx.numpy_helper.from_array(weight, stored.name))
    wrong = Bundle(tmp_path / "wrong.onnx", bundle.manifest)
    onnx.save(model, wrong.graph)
    compute = reference(checkpoint().network())
    assert run_parity(wrong, compute, shapes=[(1, 3, 32, 48)]), "half's own limits do not see it"
    folded = fold(checkpoint().network())
    rounded = reference(round_weights(folded, HalfPlan(trunk=False, state=False, reasons={})))
    proof.prove_half(Bundle(bundle.graph, bundle.manifest), compute, rounded, lambda: model)
    with pytest.raises(ExportError, match="does not compute"):
        proof.prove_half(wrong, compute, rounded, lambda: model)


@pytest.mark.parametrize(
    "bad", [{"precision": "int8"}, {"calibrate": "x"}, {"fp32_trunk": True}], ids=lambda b: next(iter(b))
)
def test_impossible_precision_settings_are_named(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        read_export_recipe(None, bad)


def test_parity_command_asks_the_oracle_and_another_engine_by_name(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["parity", str(bundle.graph), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "onnx reference evaluator"
    assert execute(["parity", str(bundle.graph), "--engine", "onnxruntime"]) == 0
    assert "rounding of the weights alone" in " ".join(capsys.readouterr().err.split())
