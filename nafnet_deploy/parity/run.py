"""Proves that a bundle computes what its network computes: one comparison; `walk` does the whole chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import CheckpointError, ConfigError, MissingDependency
from nafnet_deploy.manifest import Bundle, sha256_of
from nafnet_deploy.parity.compare import Progress, compare_engine
from nafnet_deploy.parity.golden import Case, read_golden
from nafnet_deploy.parity.inputs import natural_batch, parity_shapes
from nafnet_deploy.parity.report import ParityReport
from nafnet_deploy.parity.tolerance import limits_for

ORACLE = "oracle"
"""The graph in exactly its own arithmetic; see `parity.oracle`."""
ORACLE_SIZES = ((32, 48), (64, 80))
"""Heights and widths at which the oracle, which is slow, is asked."""
ARITHMETIC = {
    "onnxruntime cpu": (
        "ONNX Runtime on the CPU computes a float16 graph in float32: this shows the rounding of the weights alone."
    ),
    "onnx reference evaluator": (
        "The oracle rounded every float16 operator to float16, convolutions once after summing in float32; the "
        "islands were float32."
    ),
}
"""What an engine, by its own name, computes of an fp16 graph in which precision."""

Pictures = Callable[[NDArray[np.float32], int], Sequence[NDArray[np.float32]]]
"""The network itself: (input [B, C, H, W], N) -> its FP32 pictures after iterations 1..N."""


def run_parity(
    bundle: Bundle,
    reference: Pictures | None = None,
    iterations: Sequence[int] | None = None,
    shapes: Sequence[tuple[int, int, int, int]] | None = None,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
    trust: bool = False,
) -> ParityReport:
    """Compares an engine with the network at every iteration.

    Args:
        bundle: the graph and its manifest.
        reference: the network in PyTorch, asked at three sizes and two batch sizes (what the graph fixes stays
            fixed); None takes the inputs and answers of the bundle's golden file, which needs no torch.
        iterations: which n to compare; None is every n of the graph.
        shapes: input shapes [B, C, H, W] for `reference`; None is three sizes at two batch sizes.
        engine: name in the engine registry, `auto`, the path of a plan, or `oracle`: the graph in exactly its own
            arithmetic (slow; asked at small sizes). None is `onnxruntime`, and `oracle` for an fp16 graph, which
            ONNX Runtime's CPU would compute in float32.
        threads: threads of the engine; None is its own choice.
        on_progress: told (comparisons done, comparisons in all) after each.
        trust: see `open_engine`.

    Raises:
        ConfigError: an iteration the graph does not have, or a precision without limits.
        CheckpointError: the golden file is missing, damaged or not the one the manifest vouches for.
        EngineError: the engine does not open or does not take an input.
        MissingDependency: a package of the engine is not installed.
    """
    manifest = bundle.manifest
    steps = tuple(range(1, manifest.iterations + 1)) if iterations is None else tuple(iterations)
    if not steps or not all(1 <= n <= manifest.iterations for n in steps):
        raise ConfigError(
            f"iterations {list(steps)} cannot be compared.", f"The graph has iterations 1 to {manifest.iterations}."
        )
    limits = limits_for(manifest.precision)
    chosen = engine or (ORACLE if manifest.precision == "fp16" else "onnxruntime")
    if reference is None:
        cases = golden_cases(bundle)
    else:
        few = parity_shapes(manifest, ORACLE_SIZES, batches=(1,)) if chosen == ORACLE else parity_shapes(manifest)
        cases = _cases_of(reference, shapes or few, max(steps))

    def open_at(n: int) -> Engine:
        return open_oracle(bundle, n) if chosen == ORACLE else open_engine(chosen, bundle, n, threads, trust)

    name, rows = compare_engine(cases, open_at, steps, limits, on_progress)
    return ParityReport(
        model=manifest.name,
        graph_sha256=manifest.graph_sha256,
        reference="golden" if reference is None else "pytorch",
        engine=name,
        precision=manifest.precision,
        limits=limits,
        rows=rows,
        arithmetic=ARITHMETIC.get(name, "") if manifest.precision == "fp16" else "",
    )


def open_oracle(bundle: Bundle, iterations: int) -> Engine:
    """The graph in exactly its own arithmetic, cut to so many iterations.

    Raises:
        MissingDependency: onnx is not installed.
        EngineError: the graph cannot be read or has fewer iterations.
    """
    try:
        from nafnet_deploy.parity.oracle import OracleEngine
    except ImportError as error:  # engines run whole graphs without onnx, so parity must load without it too
        raise MissingDependency("onnx", "cpu", "to run a graph in its own arithmetic") from error
    return OracleEngine.open(bundle, iterations)


def golden_cases(bundle: Bundle) -> tuple[Case, ...]:
    """The cases of a bundle's golden file, which must be the one its manifest vouches for.

    Raises:
        CheckpointError: the file is missing, damaged, another one or lacks iterations.
    """
    cases = read_golden(bundle.golden)
    if sha256_of(bundle.golden) != bundle.manifest.sha256.get(".golden.npz"):
        raise CheckpointError(
            f"{bundle.golden.name} is not the golden file the manifest vouches for (the hash differs).",
            "It is damaged or was edited: export the bundle again.",
        )
    if len(cases[0].pictures) < bundle.manifest.iterations:
        raise CheckpointError(
            f"{bundle.golden.name} holds {len(cases[0].pictures)} of {bundle.manifest.iterations} iterations.",
            "Export the bundle again.",
        )
    return cases


def _cases_of(reference: Pictures, shapes: Sequence[tuple[int, int, int, int]], iterations: int) -> tuple[Case, ...]:
    cases = []
    for seed, shape in enumerate(shapes):
        batch = natural_batch(shape, seed)
        cases.append(Case(batch, tuple(reference(batch, iterations))))
    return tuple(cases)
