"""The files of a comparison: the picture, its reference and the sheet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import check_target, write_picture

_NO_PIXELS = np.zeros((1, 1, 3), np.float32)


def read_pair(source: Path, clean: Path | None, sigma: float | None) -> tuple[Picture, NDArray[np.float32] | None]:
    """The picture and what it should look like: the clean file, the picture itself where noise is added, or nobody
    knows.

    Args:
        source: the picture.
        clean: its reference, of the same size.
        sigma: level of the noise in steps of 255, or None.

    Raises:
        ConfigError: both a reference and noise, or an impossible level.
        ImageError: a file cannot be read, or the sizes differ.
    """
    if sigma is not None and clean is not None:
        raise ConfigError("with --sigma the picture itself is the reference.", "Give one of --clean and --sigma.")
    if sigma is not None and not (sigma >= 0 and math.isfinite(sigma)):
        raise ConfigError(f"--sigma {sigma:g} is impossible.", "Use 0 or more.")
    picture = read_picture(source)
    if clean is None:
        return picture, None if sigma is None else picture.pixels
    reference = read_picture(clean).pixels
    if reference.shape != picture.pixels.shape:
        (h, w, _), (clean_h, clean_w, _) = picture.pixels.shape, reference.shape
        raise ImageError(
            f"{source.name} has {w}x{h} pixels and {clean.name} has {clean_w}x{clean_h}.",
            "Give a reference of the same size.",
        )
    return picture, reference


def noisy(pixels: NDArray[np.float32], sigma: float, seed: int) -> NDArray[np.float32]:
    """Pixels with Gaussian noise of `sigma` steps of 255, neither clipped nor rounded.

    Raises:
        ConfigError: a negative seed.
    """
    if seed < 0:
        raise ConfigError(f"--seed {seed} is impossible.", "Use 0 or more.")
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    noise *= np.float32(sigma / 255)
    noise += pixels
    return noise


def target_of(source: Path, clean: Path | None, out: Path | None) -> Path:
    """Where the sheet goes: `photo.jpg` -> `photo-compare.png`, or as asked; a folder takes that name.

    Raises:
        UsageError: it is the picture or its reference.
        ImageError: it cannot be written.
    """
    name = f"{source.stem}-compare.png"
    target = source.with_name(name) if out is None else out / name if out.is_dir() else out
    for path in (source, clean):
        if path is not None:
            check_target(_sheet_of(_NO_PIXELS, path), target)
    return target


def write_sheet(sheet: Image.Image, source: Path, target: Path) -> None:
    """Writes the sheet, whole or not at all, and never over the picture that it shows.

    Raises:
        UsageError, ImageError: see `write_picture`.
    """
    write_picture(_sheet_of(np.asarray(sheet, np.float32) / np.float32(255), source), target)


def _sheet_of(pixels: NDArray[np.float32], source: Path) -> Picture:
    return Picture(pixels, alpha=None, bits=8, grey=False, icc=None, exif=None, dpi=None, source=source)
