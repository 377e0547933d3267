"""Arrays and Pillow images as pictures of ours, and back in the nature they came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nafnet_deploy.errors import ImageError
from nafnet_deploy.images.files import cmyk_to_rgb, one_line
from nafnet_deploy.images.picture import Picture, to_samples, to_unit_range

NOWHERE = Path("array")
"""Stands for the file of a picture that came from memory."""
_FLOAT_LIMIT = 4.0
_DIRECT_MODES = ("L", "LA", "RGB", "RGBA")


def picture_of(array: NDArray[Any]) -> Picture:
    """An array as a picture.

    Args:
        array: [H, W] or [H, W, C], C being grey (1), grey and alpha (2), RGB (3) or RGB and alpha (4); uint8, uint16,
            or float with black 0 and white 1 (noise may reach beyond).

    Raises:
        ImageError: another type or shape, values that are not finite, or floats that count to 255.
    """
    samples = array[..., None] if array.ndim == 2 else array
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4) or 0 in samples.shape:
        raise ImageError(f"an array [H, W] or [H, W, 1 to 4] is needed, not {list(array.shape)}.")
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ImageError(f"an array of {array.dtype} is no picture.", "Give uint8, uint16, or float from 0 to 1.")
    grey, opaque = samples.shape[2] < 3, samples.shape[2] in (1, 3)
    colour = samples[..., :1] if grey else samples[..., :3]
    unit = colour.astype(np.float32) if array.dtype.kind == "f" else to_unit_range(colour)
    if not np.isfinite(unit).all():
        raise ImageError("the array holds values that are not finite.", "Replace them first.")
    if array.dtype.kind == "f" and np.abs(unit).max() > _FLOAT_LIMIT:
        raise ImageError(
            f"the float array reaches {np.abs(unit).max():g}; black is 0 and white is 1.", "Divide it by its white."
        )
    return Picture(
        pixels=np.repeat(unit, 3, axis=2) if grey else np.ascontiguousarray(unit),
        alpha=None if opaque else np.ascontiguousarray(samples[..., -1]),
        bits=16 if array.dtype == np.uint16 else 8,
        grey=grey,
        icc=None,
        exif=None,
        dpi=None,
        source=NOWHERE,
    )


def array_of(picture: Picture, like: NDArray[Any]) -> NDArray[Any]:
    """A restored picture as an array of the type and the channels of the one it came from."""
    if like.dtype.kind == "f":
        colour = picture.pixels.mean(axis=2, keepdims=True) if picture.grey else picture.pixels
        parts = [colour.astype(like.dtype)]
        if picture.alpha is not None:
            parts.append(picture.alpha[..., None].astype(like.dtype))
        out: NDArray[Any] = np.concatenate(parts, axis=2)
    else:
        out = to_samples(picture)
    return out[..., 0] if like.ndim == 2 else out


def array_of_image(image: Image.Image) -> NDArray[Any]:
    """A Pillow image of any mode as uint8 or uint16 samples; what is not grey becomes RGB, transparency stays.

    Raises:
        ImageError: pixels of 32 bits, or a file behind it that is damaged or closed.
    """
    if image.mode in ("I", "F"):
        raise ImageError(
            f"a Pillow image with {image.mode} pixels has no known white.", "Give an array of uint16, or float 0 to 1."
        )
    try:
        return _samples(image)
    except Exception as error:  # Pillow decodes only now, and damaged files raise anything in its decoders
        raise ImageError(f"the Pillow image cannot be decoded: {one_line(error)}.", "Get a whole copy.") from error


def _samples(image: Image.Image) -> NDArray[Any]:
    if image.mode.startswith("I;16"):
        deep: NDArray[Any] = np.asarray(image).astype(np.uint16)
        key = image.info.get("transparency")
        return deep if key is None else np.stack([deep, (deep != key) * np.uint16(65535)], axis=2)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "CMYK":
        image = cmyk_to_rgb(image, image.info.get("icc_profile"))
    elif image.mode not in _DIRECT_MODES or "transparency" in image.info:
        grey = image.mode in ("L", "La")
        mode = ("LA" if grey else "RGBA") if image.has_transparency_data else "RGB"
        image = image.convert(mode)
    return np.asarray(image)


def image_of(samples: NDArray[Any], like: Image.Image) -> Image.Image:
    """uint8 samples, or uint16 ones of a grey picture, as a Pillow image; profile, EXIF and resolution are `like`'s."""
    image = Image.fromarray(samples)
    kept = ("exif", "dpi") if like.mode == "CMYK" else ("icc_profile", "exif", "dpi")  # its profile is of CMYK
    image.info = {key: value for key, value in like.info.items() if key in kept}
    return image
