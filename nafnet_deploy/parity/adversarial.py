"""Pictures that find what natural ones forgive: constants, a lone pixel, noise and the finest checkerboard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest

ADVERSARIAL = ("black", "white", "one bright pixel", "full-range noise", "1-px checkerboard")
"""Names of the pictures. Black and white empty every deviation, the pixel is an impulse, noise and checkerboard are
the largest deviations there are."""


def adversarial_batch(name: str, shape: tuple[int, int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """One of the adversarial pictures.

    Args:
        name: one of `ADVERSARIAL`.
        shape: [B, C, H, W], any sizes from 1; noise differs between the rows, the others are equal in all.
        seed: of the noise.

    Returns:
        float32 [B, C, H, W] of values in [0, 1].

    Raises:
        ConfigError: an unknown name.
    """
    if name not in ADVERSARIAL:
        raise ConfigError(f"there is no adversarial picture {name!r}.", nearest(name, ADVERSARIAL))
    if name == "full-range noise":
        return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)
    batch = np.zeros(shape, np.float32)
    if name == "white":
        batch[:] = 1
    elif name == "one bright pixel":
        batch[:, :, shape[2] // 2, shape[3] // 2] = 1
    elif name == "1-px checkerboard":
        batch[:] = np.indices(shape[2:]).sum(axis=0) % 2
    return batch
