"""Proves a graph before it gets its name: what it computes, and for half graphs in which arithmetic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import onnx

from nafnet_deploy.errors import ExportError
from nafnet_deploy.export.graph import in_float32
from nafnet_deploy.export.ranges import TRUNK
from nafnet_deploy.manifest import Bundle, ModelManifest, PartSpec, TensorSpec
from nafnet_deploy.parity.inputs import parity_shapes
from nafnet_deploy.parity.report import ParityReport
from nafnet_deploy.parity.run import ORACLE, Pictures, run_parity

PROOF_SIZES = ((64, 80), (96, 160))
"""Heights and widths at which an export proves itself: the traced one of a two-level network and another."""
ORACLE_PIXELS = 256 * 256
"""Largest fixed input (pixels, batch included) that the oracle, which is slow, is given."""


def prove(bundle: Bundle, network: Pictures) -> dict[str, float]:
    """Compares a float32 graph with its network at every iteration.

    Returns:
        `max_abs_error`, the largest difference found.

    Raises:
        ExportError: the graph does not compute what the network computes.
    """
    report = run_parity(bundle, network, shapes=_shapes(bundle.manifest))
    _demand(report, "Nothing was written. Try another --opset.")
    return {"max_abs_error": report.max_abs_error}


def prove_half(
    bundle: Bundle, network: Pictures, rounded: Pictures, small: Callable[[Path], object]
) -> dict[str, float]:
    """Proves a half graph in two steps, at every iteration.

    1. What it computes: the graph with its types made float32, in ONNX Runtime, against the network with rounded
       weights, under the limits of float32. A wrong edge or weight cannot hide behind half's rounding.
    2. With which error: the graph itself, in its own arithmetic by the oracle, against the network in float32.

    Args:
        bundle: the draft; its folder takes further files.
        network: the network in float32.
        rounded: the same with the graph's rounded weights.
        small: writes the same graph with free dimensions under a name; asked where the graph fixes a large input,
            which would keep the oracle busy for minutes.

    Returns:
        `graph_max_abs_error` of step 1, `max_abs_error` and `min_psnr` (dB; left out when the
        pictures are equal) of step 2.

    Raises:
        ExportError: either step failed.
    """
    manifest, folder = bundle.manifest, bundle.graph.parent
    parts = {name: PartSpec(_wide(part.inputs), _wide(part.outputs)) for name, part in manifest.parts.items()}
    wide = Bundle(folder / "wide.onnx", dataclasses.replace(manifest, precision="fp32", parts=parts))
    for suffix, graph in bundle.graphs.items():
        onnx.save(in_float32(onnx.load(graph)), wide.graphs[suffix])
    semantics = run_parity(wide, rounded, shapes=_shapes(manifest), engine="onnxruntime")
    _demand(semantics, "Nothing was written. Try another --opset.")
    arithmetic = run_parity(_for_oracle(bundle, small), network, engine=ORACLE)
    way = "Use" if TRUNK in manifest.float32_islands else "Try --fp32-trunk, or"
    _demand(arithmetic, f"Half precision is too coarse for this network: nothing was written. {way} --precision fp32.")
    found = {"graph_max_abs_error": semantics.max_abs_error, "max_abs_error": arithmetic.max_abs_error}
    # Equal pictures (a network that changes nothing) are infinitely close, and JSON has no infinity.
    return {**found, "min_psnr": arithmetic.min_psnr} if math.isfinite(arithmetic.min_psnr) else found


def _wide(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(dataclasses.replace(s, dtype="float32") if s.dtype == "float16" else s for s in specs)


def _shapes(manifest: ModelManifest) -> list[tuple[int, int, int, int]]:
    """The standard shapes, and for local means one that the window covers along one side and one along none."""
    window = manifest.tlc
    beyond = ((64, window + 32), (window + 64, window + 32)) if window else ()
    few = parity_shapes(manifest, beyond, batches=(1,))
    return list(dict.fromkeys((*parity_shapes(manifest, PROOF_SIZES), *few)))


def _for_oracle(bundle: Bundle, small: Callable[[Path], object]) -> Bundle:
    spec = bundle.manifest.inputs[0]
    batch, channels, height, width = (d if isinstance(d, int) else 1 for d in spec.shape)
    # the step of a split bundle can have local means at a fixed size alone
    if batch * height * width <= ORACLE_PIXELS or (bundle.manifest.parts and bundle.manifest.tlc):
        return bundle
    path: Path = bundle.graph.parent / "small.onnx"
    small(path)
    free = dataclasses.replace(spec, shape=("batch", channels, "height", "width"))
    return Bundle(path, dataclasses.replace(bundle.manifest, inputs=(free,)))


def _demand(report: ParityReport, mend: str) -> None:
    if not report:
        raise ExportError(f"the graph does not compute what the network computes. {report.verdict()}", mend)
