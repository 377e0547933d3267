"""TensorRT-RTX builds real plans from real exports, and anything else is an error. No plan is executed here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onnx import helper

from nafnet_deploy.engines import tensorrt_network
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.build_spec import build_spec
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.engines.plan import Plan
from nafnet_deploy.engines.tensorrt_builder import build_plan
from nafnet_deploy.engines.tensorrt_config import configure, flags_of, save_timing_cache
from nafnet_deploy.engines.tensorrt_log import library_logger
from nafnet_deploy.engines.tensorrt_readback import check_plan
from nafnet_deploy.errors import EngineError, ExportError
from nafnet_deploy.manifest import Bundle, TensorSpec
from tests.engines.tensorrt.graphs import SHAPE, bundle_of, conv_graph, graph_of, half_graph

SM86 = BuildRecipe(gpus=("sm86",))


@pytest.mark.parametrize("gpus", [("sm86",), ()], ids=["sm86", "portable"])
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_light_builds_at_one_three_and_five_iterations(
    light: dict[str, Bundle], rtx: Any, kind: str, gpus: tuple[str, ...]
) -> None:
    plans: dict[int, Plan] = {}
    for n in (1, 3, 5):
        plans[n] = build_plan(light[kind], BuildRecipe(gpus=gpus, iterations=n, max_shape="64x64"), rtx)
        manifest = plans[n].manifest
        assert (manifest.iterations, manifest.gpus, manifest.read_from) == (n, gpus, "network")
        assert manifest.precision_built == manifest.precision_asked == "fp32"
        assert set(manifest.layers) <= {"float32", "int64"}
        assert (manifest.inputs[0].dtype, manifest.outputs[0].dtype) == ("float32", "float32")
        assert (manifest.flags, manifest.warnings) == ((), ())  # no TF32, no complaint
        assert manifest.activation_bytes is not None
        assert manifest.plan_bytes == len(plans[n].data)
    sizes = {n: len(plan.data) for n, plan in plans.items()}
    weights = light[kind].graph.stat().st_size
    assert weights < sizes[1] < sizes[3] < sizes[5] < 1.5 * sizes[1]  # weights are shared by the iterations
    layers = {n: sum(plan.manifest.layers.values()) for n, plan in plans.items()}
    assert layers[5] - layers[3] == layers[3] - layers[1] > 0


def test_the_declared_shapes_are_those_of_the_graph(light: dict[str, Bundle], rtx: Any) -> None:
    fixed = build_plan(light["fixed"], dataclasses.replace(SM86, iterations=1), rtx).manifest
    assert fixed.inputs[0].shape == fixed.outputs[0].shape == (1, 3, 64, 64)
    free = build_plan(light["dynamic"], dataclasses.replace(SM86, iterations=1), rtx).manifest
    assert free.inputs[0].shape == ("batch", 3, "height", "width")
    assert [isinstance(side, int) for side in free.outputs[0].shape] == [False, True, False, False]
    assert free.profiles[0].max == (1, 3, 1080, 1920)


def test_the_library_states_the_memory_that_the_estimate_promised(light: dict[str, Bundle], rtx: Any) -> None:
    bundle = light["dynamic"]
    stated = build_plan(bundle, SM86, rtx).manifest.activation_bytes
    assert stated is not None
    assert 0.5 < stated / build_spec(bundle.manifest, SM86).activation_bytes <= 1.0


def test_one_plan_serves_several_gpus(small: Bundle, rtx: Any) -> None:
    names = ("sm75", "sm86", "sm89", "sm120")
    assert build_plan(small, BuildRecipe(gpus=names), rtx).manifest.gpus == names


def test_a_gpu_that_this_version_does_not_know_is_named(small: Bundle, rtx: Any) -> None:
    spec = dataclasses.replace(build_spec(small.manifest, SM86), gpus=("sm90",))
    builder = rtx.Builder(library_logger(rtx))
    config = builder.create_builder_config()
    with pytest.raises(EngineError, match=r"does not build for sm90\. It knows .*sm86"):
        configure(rtx, builder, config, None, spec, SM86)


def test_plans_of_fixed_graphs_are_reproducible_to_the_byte(light: dict[str, Bundle], rtx: Any) -> None:
    recipe = dataclasses.replace(SM86, iterations=1)
    first, second = (build_plan(light["fixed"], recipe, rtx) for _ in range(2))
    assert first.data == second.data
    assert first.manifest.key == second.manifest.key


def test_plans_of_dynamic_graphs_differ_in_a_few_numbered_names_and_share_their_key(small: Bundle, rtx: Any) -> None:
    """TensorRT-RTX 1.7 numbers some internal names by chance, so plans are cached by key and never by content."""
    first, second = (build_plan(small, SM86, rtx) for _ in range(2))
    assert len(first.data) == len(second.data)
    assert sum(a != b for a, b in zip(first.data, second.data, strict=True)) < 0.01 * len(first.data)
    assert first.manifest.key == second.manifest.key


def test_half_weights_build_a_half_plan_with_fp32_ends(tmp_path: Path, rtx: Any) -> None:
    manifest = build_plan(
        bundle_of(half_graph(islands=True), tmp_path / "h.onnx", precision="fp16"), SM86, rtx
    ).manifest
    assert manifest.precision_built == "fp16"
    assert manifest.layers["float16"] >= 2
    assert manifest.layers["float32"] > 2  # the islands
    assert (manifest.inputs[0].dtype, manifest.outputs[0].dtype) == ("float32", "float32")
    assert manifest.warnings == ()


def test_layernorm_in_half_fails_the_build(tmp_path: Path, rtx: Any) -> None:
    with pytest.raises(ExportError, match="LayerNorm in half precision, which overflows") as caught:
        build_plan(bundle_of(half_graph(islands=False), tmp_path / "h.onnx", precision="fp16"), SM86, rtx)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("asked", "built"), [("fp16", "fp32"), ("fp32", "fp16")])
def test_another_precision_than_asked_for_is_an_error(tmp_path: Path, rtx: Any, asked: str, built: str) -> None:
    model = conv_graph() if built == "fp32" else half_graph(islands=True)
    with pytest.raises(ExportError, match=f"{asked} was asked for and the library built {built}"):
        build_plan(bundle_of(model, tmp_path / "a.onnx", precision=asked), SM86, rtx)


@pytest.mark.parametrize(
    "outputs",
    [
        (TensorSpec("output", "float16", SHAPE),),
        (TensorSpec("output", "float32", (1, 3, 64, 64)),),
        (TensorSpec("picture", "float32", SHAPE),),
        (),
    ],
)
def test_other_outputs_than_the_manifest_promises_are_an_error(
    tmp_path: Path, rtx: Any, outputs: tuple[TensorSpec, ...]
) -> None:
    bundle = bundle_of(conv_graph(), tmp_path / "a.onnx")
    bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, outputs=outputs))
    with pytest.raises(ExportError, match=r"the manifest promises the outputs .* library built output float32"):
        build_plan(bundle, SM86, rtx)


@pytest.mark.parametrize("damage", ["truncated", "empty", "random", "text", "no nodes"])
def test_a_damaged_graph_is_one_clear_line(small: Bundle, tmp_path: Path, rtx: Any, damage: str) -> None:
    whole = small.graph.read_bytes()
    data = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "random": bytes(range(256)) * 40,
        "text": b"hello\n",
        "no nodes": graph_of([], {}).SerializeToString(),
    }[damage]
    with pytest.raises(ExportError, match=r"a\.onnx (is not a readable ONNX graph|holds no graph)") as caught:
        build_plan(bundle_of(data, tmp_path / "a.onnx"), SM86, rtx)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_an_empty_network_is_noticed_though_the_parser_is_content(tmp_path: Path, rtx: Any) -> None:
    bundle = bundle_of(conv_graph(), tmp_path / "a.onnx")
    builder = rtx.Builder(library_logger(rtx))
    network = builder.create_network(0)
    parser = rtx.OnnxParser(network, library_logger(rtx))
    assert parser.parse(b"")  # the trap itself
    with pytest.raises(ExportError, match="found nothing in the graph"):
        tensorrt_network.check_network(network, conv_graph(), bundle.manifest)


def test_a_lost_convolution_is_noticed(tmp_path: Path, rtx: Any) -> None:
    bundle = bundle_of(conv_graph(), tmp_path / "a.onnx")
    builder, model = rtx.Builder(library_logger(rtx)), conv_graph()
    network = tensorrt_network.parse(rtx, builder, library_logger(rtx), model)
    tensorrt_network.check_network(network, model, bundle.manifest)
    model.graph.node.append(model.graph.node[0])
    with pytest.raises(ExportError, match="graph has 2 CONVOLUTION layers in float32 and the library built 1"):
        tensorrt_network.check_network(network, model, bundle.manifest)


def test_an_operator_the_library_lacks_is_named(tmp_path: Path, rtx: Any) -> None:
    model = graph_of([helper.make_node("Det", ["input"], ["output"], name="determinant")], {})
    with pytest.raises(ExportError, match=r"UNSUPPORTED_NODE at the node 'determinant' \(Det\)") as caught:
        build_plan(bundle_of(model, tmp_path / "a.onnx"), SM86, rtx)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("largest", "amount"), [("", r" \(about \d+ MiB\)"), ("32x32", "")], ids=["estimate above", "estimate below"]
)
def test_a_workspace_that_is_too_small_is_an_error_that_names_no_amount_that_was_refused(
    small: Bundle, rtx: Any, largest: str, amount: str
) -> None:
    with pytest.raises(
        ExportError, match=rf"does not fit a workspace of 1 MiB\. Give a larger --workspace{amount}, none"
    ):
        build_plan(small, dataclasses.replace(SM86, workspace=1, max_shape=largest, opt_shape=largest), rtx)


def test_a_generous_workspace_is_recorded(small: Bundle, rtx: Any) -> None:
    assert build_plan(small, dataclasses.replace(SM86, workspace=4096), rtx).manifest.workspace == 4096


def test_a_plan_that_the_library_finds_too_large_is_refused_after_the_build(
    small: Bundle, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nafnet_deploy.engines.build_spec.ENGINE_FACTOR", 1e-6)  # an estimate that was far too low
    with pytest.raises(ExportError, match=r"the plan needs [\d.]+ GiB for its activations and the GPU has 0"):
        build_plan(small, dataclasses.replace(SM86, gpu_memory=0.01), rtx)


def test_progress_rises_to_the_end(small: Bundle, rtx: Any) -> None:
    seen: list[tuple[str, float]] = []
    build_plan(small, SM86, rtx, lambda phase, share: seen.append((phase, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len({phase for phase, _ in seen}) > 3


def test_what_a_callback_raises_ends_the_build_and_comes_back(small: Bundle, rtx: Any) -> None:
    def tell(phase: str, share: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        build_plan(small, SM86, rtx, tell)
    assert build_plan(small, SM86, rtx).data  # the process is unharmed


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")
def test_the_timing_cache_is_read_used_and_written(tmp_path: Path, rtx: Any) -> None:
    """The calls only: TensorRT-RTX accepts a timing cache and leaves it empty."""
    path = tmp_path / "new" / "timings"
    recipe = BuildRecipe(target="tensorrt", timing_cache=str(path))
    spec = build_spec(bundle_of(conv_graph(), tmp_path / "a.onnx").manifest, recipe)
    builder = rtx.Builder(library_logger(rtx))
    for _ in range(2):
        config = builder.create_builder_config()
        cache = configure(rtx, builder, config, None, spec, recipe)
        assert cache is not None
        assert "TF32" not in flags_of(rtx, config)
        save_timing_cache(cache, path)
        assert [p.name for p in path.parent.iterdir()] == ["timings"]


def test_where_the_gpu_is_the_plan_itself_is_loaded_and_compared(tmp_path: Path, rtx: Any) -> None:
    """With a double of the runtime, which proves the calls and not that a plan loads."""
    model = conv_graph()
    builder = rtx.Builder(library_logger(rtx))
    network = tensorrt_network.parse(rtx, builder, library_logger(rtx), model)
    tensors = {"input": SHAPE, "output": SHAPE}
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda i: list(tensors)[i],
        get_tensor_dtype=lambda name: rtx.DataType.FLOAT,
        get_tensor_shape=lambda name: tensors[name],
    )
    loaded: list[Any] = [engine]
    double = SimpleNamespace(Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: loaded[0]))
    here, elsewhere = LocalGpu("RTX 3090", "sm86", 24.0, "13.0"), LocalGpu("RTX 4090", "sm89", 24.0, "13.0")

    def check(device: LocalGpu | None) -> str:
        return check_plan(double, None, b"plan", network, ("sm86",), device)

    assert (check(here), check(elsewhere), check(None)) == ("engine", "network", "network")
    tensors["output"] = (1, 3, 64, 64)
    with pytest.raises(ExportError, match="the plan has the tensors"):
        check(here)
    loaded[0] = None
    with pytest.raises(ExportError, match="does not load on the RTX 3090"):
        check(here)


def test_bytes_that_are_no_plan_are_recognised_without_a_gpu(rtx: Any) -> None:
    with pytest.raises(ExportError, match="does not recognise the plan"):
        check_plan(rtx, library_logger(rtx), b"hello" * 100, None, (), None)
