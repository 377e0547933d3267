"""A picture in memory, with what is needed to write it back the way it came."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[np.unsignedinteger[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """Pixels for a network, and the nature of the file they came from."""

    pixels: NDArray[np.float32]
    """[H, W, 3], RGB, 0 is black and 1 is white, upright (EXIF orientation applied)."""
    alpha: NDArray[Any] | None
    """[H, W] transparency as stored, uint8 or uint16 after `bits`; None when opaque."""
    bits: int
    """Bits per sample of the source: 8 or 16."""
    grey: bool
    """The source has one colour channel; `pixels` repeats it three times."""
    icc: bytes | None
    """ICC colour profile of `pixels`."""
    exif: bytes | None
    """EXIF block (with its `Exif` header) whose orientation is reset to upright."""
    dpi: tuple[float, float] | None
    """Printing resolution across and down (dots per inch)."""
    source: Path
    """The file it was read from; it is never written to."""

    def with_pixels(self, pixels: NDArray[np.float32]) -> Picture:
        """The same picture with other pixels [h, w, 3]; a network that enlarges gets its alpha enlarged too."""
        alpha = self.alpha
        if alpha is not None and alpha.shape != pixels.shape[:2]:
            size = (pixels.shape[1], pixels.shape[0])
            smooth = np.asarray(Image.fromarray(alpha.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
            alpha = (np.rint(smooth) if alpha.dtype.kind == "u" else smooth).astype(alpha.dtype)
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)


def to_unit_range(samples: Samples) -> NDArray[np.float32]:
    """Stored samples (uint8 or uint16, any shape) as float32 in [0, 1]."""
    unit: NDArray[np.float32] = np.divide(samples, 2 ** (8 * samples.dtype.itemsize) - 1, dtype=np.float32)
    return unit


def to_samples(picture: Picture) -> Samples:
    """Samples of the picture's depth: [H, W, C] with C colour channels (3, or 1 for grey) and its alpha last.

    Values outside [0, 1] are clipped; a grey picture gets the mean of the three channels.
    """
    dtype = np.dtype(np.uint8 if picture.bits == 8 else np.uint16)
    white = 2**picture.bits - 1
    height, width, _ = picture.pixels.shape
    colours = 1 if picture.grey else 3
    out: Samples = np.empty((height, width, colours + (picture.alpha is not None)), dtype)
    # in bands: a float copy of a 50-megapixel picture is 600 MB
    for top in range(0, height, 256):
        band = picture.pixels[top : top + 256]
        if picture.grey:
            band = band.mean(axis=2, keepdims=True)
        out[top : top + 256, :, :colours] = np.rint(np.clip(band, 0, 1) * white)
    if picture.alpha is not None:
        out[..., -1] = picture.alpha
    return out
