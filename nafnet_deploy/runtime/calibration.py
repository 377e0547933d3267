"""Measures how the steps of a split bundle change the picture, so that a stopping rule can speak of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.registry import open_anytime
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.manifest import Bundle, Stopping


def measure_stopping(bundle: Bundle, inputs: Sequence[NDArray[np.float32]], source: str = "seeded pictures") -> Stopping:
    """Medians over inputs and iterations of what a step's `delta` says about picture and next step.

    Args:
        bundle: a split bundle, without thresholds of its own.
        inputs: batches [B, C, H, W] that the network takes.
        source: what the inputs are, in words.

    Raises:
        EngineError: the bundle does not run.
    """
    steps, ratios = [], []
    with open_anytime("onnxruntime", bundle, StopRule(max(bundle.manifest.iterations, 2))) as engine:
        for batch in inputs:
            glimpses = list(engine.iterate({engine.inputs[0].name: batch}))
            deltas = np.stack([g.change for g in glimpses])  # of the state: the rule above scales by 1
            pictures = [g.picture.astype(np.float64) for g in glimpses]
            for before, after, delta in zip(pictures, pictures[1:], deltas[1:], strict=False):
                ratios.append(_rms(after - before) / np.maximum(delta, np.finfo(np.float32).tiny))
            steps.append(deltas[1:] / np.maximum(deltas[:-1], np.finfo(np.float32).tiny))
    ahead = np.median(np.concatenate(steps, axis=1), axis=1)
    return Stopping(float(np.median(np.concatenate(ratios))), tuple(float(r) for r in ahead), source=source)


def _rms(batch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square of each picture of [B, C, H, W]."""
    rms: NDArray[np.float64] = np.sqrt((batch**2).mean(axis=(1, 2, 3)))
    return rms
