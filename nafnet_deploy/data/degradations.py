"""What was done to a clean picture. Pictures are float32 [H, W, 3] in [0, 1].

Every degradation draws its strength from a range, once per picture, with the generator that it is given: the same
generator state gives the same picture.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest

_JPEG_UNIT = 16  # pixels: two blocks, since colour is stored at half the size

Image = NDArray[np.float32]
Generator = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Degradation:
    """One kind of damage and its ranges; the ranges of other kinds are ignored."""

    type: str = "noise"
    """`noise`, `blur` (motion or Gaussian), `motion`, `jpeg`, `scale` or `combined` (any of them together)."""
    sigma: tuple[float, float] = (5.0, 50.0)
    """noise: standard deviation of white Gaussian noise, in steps of 255."""
    blur_sigma: tuple[float, float] = (0.5, 3.0)
    """blur: standard deviation of a Gaussian blur (pixels)."""
    motion: tuple[float, float] = (7.0, 15.0)
    """blur, motion: length of a straight motion at any angle (pixels)."""
    quality: tuple[int, int] = (30, 90)
    """jpeg: quality of the encoder, 1 to 95."""
    scale: tuple[float, float] = (0.3, 0.7)
    """scale: how far the picture is shrunk before it is enlarged again."""
    share: float = 0.5
    """combined: chance of each kind; at least one always strikes."""
    quantize: bool | None = None
    """Whether the result is clipped and rounded to 8 bits, as a file would hold it. None for the custom of the
    field: all but noise alone."""

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ConfigError(f"there is no degradation {self.type!r}.", nearest(self.type, TYPES))
        limits = {
            "sigma": (0, 1000),
            "blur_sigma": (0, 100),
            "motion": (1, 255),
            "quality": (1, 95),
            "scale": (0.01, 1),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                words = f"give {lowest} <= lowest <= highest <= {highest}."
                raise ConfigError(f"degradation.{name} = [{low}, {high}] is impossible:", words)
        if not 0 <= self.share <= 1:
            raise ConfigError(f"degradation.share = {self.share} is impossible:", "it must lie in [0, 1].")

    @property
    def unit(self) -> int:
        """Pixels of which a margin is a multiple: JPEG's blocks begin at the corner of a crop, as at that of a file."""
        return _JPEG_UNIT if self.type in ("jpeg", "combined") else 1

    @property
    def margin(self) -> int:
        """Pixels around a crop that its degraded version depends on, a multiple of `unit`."""
        # Shrinking and enlarging reach 2 small pixels each; the last of the four count less than a level of 255.
        reach = {"noise": 0.0, "jpeg": 8.0, "scale": 3 / self.scale[0], "motion": self.motion[1] / 2}
        reach["blur"] = max(reach["motion"], 4 * self.blur_sigma[1])
        reach["combined"] = reach["blur"] + reach["scale"] + reach["jpeg"]
        return math.ceil(reach[self.type] / self.unit) * self.unit

    def __call__(self, clean: Image, rng: Generator) -> Image:
        """A degraded copy of `clean` [H, W, 3]."""
        kinds = (self.type,) if self.type != "combined" else self._draw(rng)
        degraded = clean
        for kind in kinds:
            degraded = KINDS[kind](self, degraded, rng)
        if self.quantize if self.quantize is not None else self.type != "noise":
            degraded = (np.round(np.clip(degraded, 0, 1) * 255) / 255).astype(np.float32)
        return degraded

    def _draw(self, rng: Generator) -> tuple[str, ...]:
        """The kinds of one combination, in the order in which a camera and a network inflict them."""
        chosen = [kind for kind, drawn in zip(COMBINED, rng.random(len(COMBINED)), strict=True) if drawn < self.share]
        return tuple(chosen) or (COMBINED[int(rng.integers(len(COMBINED)))],)


def noise(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Additive white Gaussian noise, neither clipped nor quantised, as the denoising literature reports it."""
    sigma = np.float32(rng.uniform(*settings.sigma) / 255)
    return picture + sigma * rng.standard_normal(picture.shape, dtype=np.float32)


def blur(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Motion or Gaussian blur, equally likely."""
    return motion(settings, picture, rng) if rng.random() < 0.5 else gaussian_blur(settings, picture, rng)


def gaussian_blur(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Isotropic Gaussian blur; the border is mirrored."""
    sigma = rng.uniform(*settings.blur_sigma)
    blurred: Image = ndimage.gaussian_filter(picture, (sigma, sigma, 0), mode="mirror")
    return blurred


def motion(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Blur by a straight uniform motion at any angle; the border is mirrored."""
    kernel = motion_kernel(rng.uniform(*settings.motion), rng.uniform(0, math.pi))
    blurred: Image = ndimage.convolve(picture, kernel[:, :, None], mode="mirror")
    return blurred


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """The path of a point that moves `length` pixels at `angle` (radians), as weights [k, k] that sum to 1; k is odd.

    Points along the path are shared between the four pixels around them, so that no angle is jagged.
    """
    radius = math.ceil(length / 2)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, 8 * math.ceil(length))
    y, x = radius - along * math.sin(angle), radius + along * math.cos(angle)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    for rows, columns, weight in (
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ):
        inside = weight > 0
        np.add.at(kernel, (rows[inside], columns[inside]), weight[inside])
    weights: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return weights


def jpeg(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Encoded as JPEG and decoded again, 4:2:0 as most encoders do."""
    low, high = settings.quality
    buffer = io.BytesIO()
    _to_pillow(picture).save(buffer, "JPEG", quality=int(rng.integers(low, high + 1)))
    with PillowImage.open(buffer) as decoded:
        picture = np.asarray(decoded.convert("RGB"), np.float32)
    return picture / np.float32(255)


def scale(settings: Degradation, picture: Image, rng: Generator) -> Image:
    """Shrunk and enlarged again, both bicubic."""
    factor = rng.uniform(*settings.scale)
    height, width = picture.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    bicubic = PillowImage.Resampling.BICUBIC
    enlarged = _to_pillow(picture).resize(small, bicubic).resize((width, height), bicubic)
    picture = np.asarray(enlarged, np.float32)
    return picture / np.float32(255)


def _to_pillow(picture: Image) -> PillowImage.Image:
    return PillowImage.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


KINDS: dict[str, Callable[[Degradation, Image, Generator], Image]] = {
    "noise": noise,
    "blur": blur,
    "motion": motion,
    "jpeg": jpeg,
    "scale": scale,
}
COMBINED = ("blur", "scale", "noise", "jpeg")
"""The kinds that are combined, in order."""
TYPES = (*KINDS, "combined")
