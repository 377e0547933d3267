"""What was done to a clean picture. Pictures are float32 in [0, 1], channels last or first alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError

Image = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Additive white Gaussian noise, neither clipped nor quantised, as the denoising literature reports it."""

    sigma: tuple[float, float] = (5.0, 50.0)
    """Lowest and highest standard deviation in steps of 255; drawn uniformly per picture."""

    def __post_init__(self) -> None:
        low, high = self.sigma
        if not 0 <= low <= high:
            raise ConfigError(f"degradation.sigma = [{low}, {high}] is impossible:", "give 0 <= lowest <= highest.")

    def __call__(self, clean: Image, rng: np.random.Generator) -> Image:
        """A degraded copy of `clean`."""
        sigma = np.float32(rng.uniform(*self.sigma) / 255)
        return clean + sigma * rng.standard_normal(clean.shape, dtype=np.float32)
