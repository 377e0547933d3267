"""A graph with N reasoning iterations contains every shorter one: this cuts it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nafnet_deploy.errors import ConfigError, EngineError, MissingDependency
from nafnet_deploy.manifest import Bundle, ModelManifest

if TYPE_CHECKING:
    import onnx


def check_iterations(manifest: ModelManifest, n: int) -> None:
    """Refuses a number of iterations that the manifest's graph does not contain; a split bundle takes any from 1.

    Raises:
        ConfigError: n is below 1.
        EngineError: n is above the graph's iterations.
    """
    if n < 1:
        raise ConfigError(f"{n} iterations are impossible.", "Use --iters 1 or more.")
    if n > manifest.iterations and not manifest.parts:
        raise EngineError(
            f"{n} iterations were asked for and the graph of {manifest.name} has {manifest.iterations}.",
            f"Make a longer one with: nafdeploy export {manifest.exported_from} --iters {n}"
            if manifest.model.positions
            else "This network has nothing to iterate: leave --iters out.",
        )


def graph_of_iterations(bundle: Bundle, n: int) -> str | bytes:
    """A bundle's graph with n iterations: its path when it has as many, else the bytes of the shorter graph.

    Raises:
        ConfigError: n is below 1.
        EngineError: n is above the graph's iterations, or the file is damaged.
        MissingDependency: onnx is needed for fewer iterations and is not installed.
    """
    graph = bundle.unrolled("to run it as a whole")
    check_iterations(bundle.manifest, n)
    if n == bundle.manifest.iterations:
        return str(graph)
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", "cpu", "to run fewer iterations than the graph has") from error
    try:
        model = onnx.load(str(graph))
    except Exception as error:  # protobuf's error class depends on its implementation
        reason = " ".join(str(error).split())[:300].rstrip(". ") or type(error).__name__
        raise EngineError(f"{graph} is not a readable ONNX file: {reason}.", "Export the bundle again.") from error
    short: bytes = cut_iterations(model, bundle.manifest, n).SerializeToString()
    return short


def cut_iterations(model: onnx.ModelProto, manifest: ModelManifest, n: int) -> onnx.ModelProto:
    """The graph that stops every reasoning unit after n iterations; the given model is left as it is.

    Whatever reads a unit's last features reads those of iteration n instead; nodes and weights that no output
    needs any more are dropped. Inputs and outputs keep their names.

    Args:
        model: the exported graph, without subgraphs.
        manifest: its contract; `iteration_values` says where the iterations end.
        n: iterations to keep, 1 to `manifest.iterations`.

    Raises:
        ConfigError: n is below 1.
        EngineError: n is above the graph's iterations, the graph lacks a value that the manifest names, or it has
            subgraphs (`Loop`, `If`, `Scan`).
    """
    import onnx  # not at the top: the whole graph runs without it

    check_iterations(manifest, n)
    _refuse_subgraphs(model.graph)
    short = onnx.ModelProto()
    short.CopyFrom(model)
    graph = short.graph
    producers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    for place, values in manifest.iteration_values.items():
        kept, last = values[n - 1], values[-1]
        if kept not in producers or last not in producers:
            raise EngineError(
                f"the graph has no value for iteration {n} at {place!r}, though its manifest names one.",
                "Export the bundle again.",
            )
        if kept == last:
            continue
        for node in graph.node:
            node.input[:] = [kept if name == last else name for name in node.input]
        if last in outputs:  # the output keeps its name and takes over the earlier value
            node = producers[last]
            node.output[:] = [f"{name}.uncut" if name == last else name for name in node.output]
            graph.node.append(onnx.helper.make_node("Identity", [kept], [last]))
    drop_unreachable(graph)
    return short


def _refuse_subgraphs(graph: onnx.GraphProto) -> None:
    """Refuses a graph whose nodes hold graphs of their own.

    A subgraph reads values of the graph around it without listing them as inputs of its node. The cut, which goes
    by these inputs, would leave it the last iteration's features or drop what it reads.
    """
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise EngineError(
                f"the graph has a subgraph in the node {node.name!r} ({node.op_type}) and cannot be cut.",
                "Leave --iters out, or export the bundle again with nafdeploy export, which unrolls the iterations.",
            )


def drop_unreachable(graph: onnx.GraphProto) -> None:
    """Removes nodes, weights and shape notes that no output depends on."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):  # sorted topologically, as ONNX demands: readers come after writers
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    values = needed.union(*(node.output for node in nodes))
    for field, kept in (
        (graph.node, nodes[::-1]),
        (graph.initializer, [i for i in graph.initializer if i.name in needed]),
        (graph.value_info, [v for v in graph.value_info if v.name in values]),
    ):
        items = list(kept)
        del field[:]
        field.extend(items)
