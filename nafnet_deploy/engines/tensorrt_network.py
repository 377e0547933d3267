"""ONNX graph in, TensorRT network out, and the network compared with what the bundle's manifest promises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nafnet_deploy.engines.cut import cut_iterations
from nafnet_deploy.engines.tensorrt_log import Heard
from nafnet_deploy.errors import ExportError, MissingDependency
from nafnet_deploy.manifest import Bundle, ModelManifest, TensorSpec

if TYPE_CHECKING:
    import onnx

Comparable = tuple[str, str, tuple[int, ...]]
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
"""Our names of the library's types; the others differ in case only."""
_PRODUCTS = {"Conv": "CONVOLUTION", "ConvTranspose": "DECONVOLUTION", "MatMul": "MATRIX_MULTIPLY"}
"""Operators that become exactly one layer, and that layer: what carries a network's arithmetic and its weights."""
LAYERNORM_WARNING = "Detected layernorm nodes in FP16"
"""The library's only sign that a plan will overflow (NVIDIA/TensorRT issues 3897, 4338)."""


def read_graph(bundle: Bundle, iterations: int) -> onnx.ModelProto:
    """The bundle's graph with that many reasoning iterations.

    Raises:
        MissingDependency: onnx is not installed.
        ExportError: the file is not an ONNX graph.
        EngineError: the graph lacks a value that the manifest names.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", "tensorrt-rtx", "to build a plan") from error
    try:
        model = onnx.load(str(bundle.unrolled("to build a plan")))
    except Exception as error:  # protobuf's error class depends on its implementation
        raise ExportError(
            f"{bundle.graph} is not a readable ONNX graph: {' '.join(str(error).split())[:200]}.",
            "It is damaged: export the bundle again.",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ExportError(f"{bundle.graph} holds no graph.", "It is damaged: export the bundle again.")
    if iterations < bundle.manifest.iterations:
        return cut_iterations(model, bundle.manifest, iterations)
    return model


def parse(module: Any, builder: Any, logger: Any, model: onnx.ModelProto) -> Any:
    """The graph as a strongly typed network; the caller keeps `builder` alive as long as the network.

    Raises:
        ExportError: the library cannot read the graph; names the operator.
    """
    # 10.x has the flag as bit 1, TensorRT 11 and RTX as bit 0 and are strongly typed anyway: never a literal here.
    typed = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    if network is None:
        raise ExportError("the library made no network.", "Look at its log with --debug.")
    parser = module.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise ExportError(f"the library cannot read the graph: {_parser_error(parser)}.", "Try another --opset.")
    return network


def _parser_error(parser: Any) -> str:
    if parser.num_errors == 0:
        return "it does not say why"
    fault = parser.get_error(0)
    where = f" at the node {fault.node_name()!r} ({fault.node_operator()})" if fault.node_operator() else ""
    text = " ".join(str(fault.desc()).split())[:300].rstrip(".")
    return f"{str(fault.code()).rpartition('.')[2]}{where}: {text}"


def check_network(network: Any, model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """Compares what the library understood with the manifest and the graph.

    The parser takes an empty or random file for an empty network and says nothing, so success proves little.

    Raises:
        ExportError: inputs, outputs, their types or shapes, or the number or types of the convolutions and matrix
            products are not what was asked for.
    """
    if network.num_layers == 0 or network.num_outputs == 0:
        raise ExportError("the library found nothing in the graph.", "It is damaged: export the bundle again.")
    for kind, asked, built in (
        ("inputs", manifest.inputs, network_inputs(network)),
        ("outputs", manifest.outputs, network_outputs(network)),
    ):
        if comparable(asked) != comparable(built):
            raise ExportError(
                f"the manifest promises the {kind} {_words(asked)} and the library built {_words(built)}.",
                "Export the bundle again.",
            )
    asked_layers, built_layers = _products_of_graph(model), _products_of_network(network)
    for (layer, dtype), count in asked_layers.items():
        if built_layers[layer, dtype] != count:
            raise ExportError(
                f"the graph has {count} {layer} layers in {dtype} and the library built {built_layers[layer, dtype]}.",
                "Report this with the library's version: the plan would not be the network that was exported.",
            )
    built_precision = precision_of(network)
    if built_precision != manifest.precision:
        raise ExportError(
            f"{manifest.precision} was asked for and the library built {built_precision}.",
            f"Export the bundle again: nafdeploy export {manifest.exported_from} --precision {manifest.precision}",
        )


def check_warnings(heard: Heard) -> None:
    """Turns the warning that means a broken picture into a failure.

    Raises:
        ExportError: the library found LayerNorm statistics in half precision.
    """
    for text in heard.warnings:
        if LAYERNORM_WARNING in text:
            raise ExportError(
                "the graph computes LayerNorm in half precision, which overflows.",
                "Export it again with nafdeploy export --precision fp16, which keeps these parts in FP32.",
            )


def layer_types(network: Any) -> dict[str, int]:
    """Layers by the type of their first output."""
    types = Counter(dtype_name(layer.get_output_type(0)) for layer in _layers(network) if layer.num_outputs)
    return dict(sorted(types.items()))


def precision_of(network: Any) -> str:
    """`fp16` when any convolution or matrix product computes in half, else `fp32`.

    A network without either is judged by all its layers.
    """
    counts = _products_of_network(network)
    types = {dtype for _, dtype in counts} or set(layer_types(network))
    return "fp16" if "float16" in types else "fp32"


def network_inputs(network: Any) -> tuple[TensorSpec, ...]:
    """Inputs as the library declares them."""
    return tuple(_spec(network.get_input(i)) for i in range(network.num_inputs))


def network_outputs(network: Any) -> tuple[TensorSpec, ...]:
    """Outputs as the library declares them."""
    return tuple(_spec(network.get_output(i)) for i in range(network.num_outputs))


def _spec(tensor: Any) -> TensorSpec:
    shape = tuple(int(s) if s >= 0 else tensor.get_dimension_name(i) or "free" for i, s in enumerate(tensor.shape))
    return TensorSpec(tensor.name, dtype_name(tensor.dtype), shape)


def dtype_name(value: Any) -> str:
    """NumPy's name of a library's `DataType`."""
    name = str(value.name)
    return _DTYPES.get(name, name.lower())


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(i) for i in range(network.num_layers)]


def _products_of_network(network: Any) -> Counter[tuple[str, str]]:
    kinds = set(_PRODUCTS.values())
    return Counter(
        (layer.type.name, dtype_name(layer.get_output_type(0)))
        for layer in _layers(network)
        if layer.type.name in kinds
    )


def _products_of_graph(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph  # the factors of an attention are no weights
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    return Counter(
        (_PRODUCTS[node.op_type], onnx.helper.tensor_dtype_to_np_dtype(types[node.output[0]]).name)
        for node in model.graph.node
        if node.op_type in _PRODUCTS
    )


def comparable(specs: tuple[TensorSpec, ...]) -> list[Comparable]:
    """Specs sorted, with -1 for every free dimension whatever its word."""
    return sorted((s.name, s.dtype, tuple(d if isinstance(d, int) else -1 for d in s.shape)) for s in specs)


def _words(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{s.name} {s.dtype} {list(s.shape)}" for s in specs) or "none"
