"""A network with its recurrence written out for a fixed number of iterations, and that as an ONNX graph."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import onnx
import torch
from torch import Tensor, nn

from nafnet_deploy.config import POSITIONS, ModelConfig
from nafnet_deploy.errors import ExportError
from nafnet_deploy.export.lowering import shortened
from nafnet_deploy.models.nafnet_rr import NAFNetRR
from nafnet_deploy.models.registry import picture

INPUT, OUTPUT = "input", "output"


class Unrolled(nn.Module):
    """forward(x) -> (picture after N iterations, features at every place after each iteration)."""

    def __init__(self, network: nn.Module, iterations: int) -> None:
        super().__init__()
        self.network, self.iterations = network, iterations

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not isinstance(self.network, NAFNetRR):
            return (picture(self.network, x, self.iterations),)
        taps: list[Tensor] = []
        network, refine = self.network, type(self.network).refine

        def tapped(position: str, features: Tensor, iters: int) -> list[Tensor]:
            results = refine(network, position, features, iters)
            if position in network.reasoning:
                taps.extend(results)
            return results

        network.refine = tapped  # type: ignore[method-assign]
        try:
            return (network(x, self.iterations), *taps)
        finally:
            del network.refine


def iteration_values(config: ModelConfig, iterations: int) -> dict[str, tuple[str, ...]]:
    """Names in the graph of the features after each iteration, per place, in the order the places are run."""
    order = [p for p in POSITIONS if p in config.positions]
    return {p: tuple(f"{p}_iteration_{i}" for i in range(1, iterations + 1)) for p in order}


def unroll(
    network: nn.Module,
    config: ModelConfig,
    iterations: int,
    shape: tuple[int, int, int, int],
    free: dict[int, str],
    opset: int,
) -> onnx.ModelProto:
    """The graph of N iterations of a folded network, its iteration values named; see `to_onnx`."""
    values = [value for place in iteration_values(config, iterations).values() for value in place]
    return to_onnx(Unrolled(network, iterations), values, shape, free, opset)


def to_onnx(
    module: nn.Module,
    values: Sequence[str],
    shape: tuple[int, int, int, int],
    free: dict[int, str],
    opset: int,
) -> onnx.ModelProto:
    """Traces a module at `shape` and returns its graph.

    Args:
        module: forward(x) -> (picture, a tensor per name of `values`).
        values: names of the inner tensors that it returns, in that order; they stay names in the graph.
        shape: [B, C, H, W] of the traced input.
        free: dimensions that stay free and their names, e.g. {2: "height", 3: "width"}.
        opset: ONNX operator set.

    Raises:
        ExportError: the exporter failed.
    """
    try:
        with quiet(), uncollected(), torch.no_grad(), shortened():
            program = torch.onnx.export(
                module,
                (torch.rand(shape, generator=torch.Generator().manual_seed(0)),),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT, *values],
                dynamic_shapes={"x": free} if free else None,
            )
    except Exception as error:  # the exporter raises many kinds; the first line says which node
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"the ONNX exporter failed: {first}", "Try another --opset or a fixed --imgsz.") from error
    if program is None:
        raise ExportError("the ONNX exporter returned nothing.", "Try another --opset.")
    model: onnx.ModelProto = program.model_proto
    if (written := model.opset_import[0].version) != opset:  # the exporter falls back without a word
        raise ExportError(f"opset {opset} was asked for and the exporter wrote {written}.", f"Use --opset {written}.")
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's own progress lines and warnings off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Holds Python's garbage collector back.

    The exporter makes hundreds of thousands of objects and keeps them to its end: looking through them again and again
    takes up to a third of its time and frees next to nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
