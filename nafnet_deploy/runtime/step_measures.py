"""Measures how the steps of a split bundle change the picture, so that a stopping rule can speak of the picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.registry import open_anytime
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.manifest import Bundle, Stopping

Array = NDArray[np.float64]
_TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Traces:
    """What the iterations did to every picture."""

    delta: Array
    """Change of the state (root mean square), [pictures, iterations]."""
    change: Array
    """Change of the picture (root mean square) by every iteration but the first, which has none before it:
    [pictures, iterations - 1]."""

    def fit(self, source: str) -> Stopping:
        """How `delta` relates to the picture: the median over pictures and iterations.

        Args:
            source: what the pictures are, in words.
        """
        ratios = self.change / np.maximum(self.delta[:, 1:], _TINY)
        return Stopping(float(np.median(ratios)), source=source)


def measure_stopping(bundle: Bundle, inputs: Sequence[NDArray[np.float32]]) -> Stopping:
    """What `delta` says about the picture, over all iterations that were proved.

    Args:
        bundle: a split bundle.
        inputs: batches [B, C, H, W] that the network takes.

    Raises:
        EngineError: the bundle does not run.
    """
    deltas, changes = [], []
    with open_anytime("onnxruntime", bundle, StopRule(max(bundle.manifest.iterations, 2))) as engine:
        for batch in inputs:
            glimpses = list(engine.iterate({engine.inputs[0].name: batch}))
            deltas.append(np.stack([glimpse.delta for glimpse in glimpses], axis=1))
            changes.append(np.stack([rms(b.picture, a.picture) for a, b in itertools.pairwise(glimpses)], axis=1))
    return Traces(np.concatenate(deltas).astype(np.float64), np.concatenate(changes)).fit("seeded pictures")


def rms(left: NDArray[Any], right: NDArray[Any]) -> Array:
    """Root mean square difference of each picture of two batches [B, C, H, W]."""
    result: Array = np.sqrt(((left.astype(np.float64) - right) ** 2).mean(axis=(1, 2, 3)))
    return result
