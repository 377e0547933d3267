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
    """What every iteration did to every picture: arrays [pictures, iterations]."""

    delta: Array
    """Change of the state (root mean square)."""
    change: Array
    """Change of the picture (root mean square); of the first iteration, against the input."""

    def fit(self, source: str) -> Stopping:
        """How `delta` relates to the picture: the median over pictures and iterations.

        Args:
            source: what the pictures are, in words.
        """
        ratios = self.change[:, 1:] / np.maximum(self.delta[:, 1:], _TINY)
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
            pictures = [batch, *(glimpse.picture for glimpse in glimpses)]
            deltas.append(np.stack([glimpse.delta for glimpse in glimpses], axis=1))
            changes.append(np.stack([rms(b, a) for a, b in itertools.pairwise(pictures)], axis=1))
    return Traces(np.concatenate(deltas).astype(np.float64), np.concatenate(changes)).fit("seeded pictures")


def rms(left: NDArray[Any], right: NDArray[Any]) -> Array:
    """Root mean square difference of each picture of two batches [B, C, H, W]."""
    result: Array = np.sqrt(((left.astype(np.float64) - right) ** 2).mean(axis=(1, 2, 3)))
    return result
