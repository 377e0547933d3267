"""Learning rate and iteration count as functions of the step alone, so that a resumed run goes on as it was."""

from __future__ import annotations

import math

import numpy as np

from nafnet_deploy.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then the recipe's decay: cosine (Loshchilov & Hutter, 2017), drops, or none."""
    s = recipe.schedule
    if step < s.warmup:
        return s.lr * (step + 1) / s.warmup
    if s.decay == "none":
        return s.lr
    if s.decay == "step":
        return max(s.lr_min, s.lr * s.factor ** ((step - s.warmup) // s.every))
    share = (step - s.warmup) / max(1, s.steps - s.warmup)
    return s.lr_min + 0.5 * (s.lr - s.lr_min) * (1 + math.cos(math.pi * min(1.0, share)))


def iterations_at(recipe: Recipe, step: int) -> int:
    """N of a step; the largest value grows over the `progressive` share of the run."""
    s = recipe.schedule
    largest = s.iterations
    if s.progressive > 0:
        share = step / (s.progressive * s.steps)
        largest = min(s.iterations, 1 + int(share * (s.iterations - 1)))
    if not s.random:
        return largest
    return int(np.random.default_rng((recipe.seed, step, 1)).integers(1, largest + 1))
