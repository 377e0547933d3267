"""Pictures that are never in memory as a whole: read in bands of rows with libvips, and written as the rows come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nafnet_deploy.errors import ImageError, MissingDependency
from nafnet_deploy.images.encoding import PngRows, RowWriter, TiffRows
from nafnet_deploy.images.exif import ORIENTATION, upright_exif
from nafnet_deploy.images.files import dpi_of, opened
from nafnet_deploy.images.picture import Picture, Samples
from nafnet_deploy.images.writing import WRITE_SUFFIXES, check_target, whole_or_nothing

MOST_PIXELS = 2**30
"""Largest picture that is restored in parts (pixels, 1.07 gigapixels)."""
ROW_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes that can be written as the rows come, lower case."""
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "YCbCr", "I;16", "I;16B", "I;16L", "I;16N")
_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP")
_DISC_FROM = "10m"
_WHOLE = 6  # bytes per pixel: the coefficients of a progressive JPEG; an interlaced PNG and a WebP take up to 4


class Rows:
    """The rows of a picture from top to bottom, upright, as uint8 or uint16 samples.

    JPEG, PNG, striped and tiled TIFF are decoded as far as the rows are asked for. A picture that its EXIF
    orientation turns is decoded once by libvips, into a scratch file of the system's temporary folder when it is
    larger than 10 MB. An interlaced PNG, a progressive JPEG and a WebP can only be decoded as a whole.
    """

    def __init__(self, image: Any, nature: Picture, whole: bool) -> None:
        import pyvips

        self._image, self._region = image, pyvips.Region.new(image)
        self.nature = nature
        """Everything but the pixels, of which it has no row."""
        self.shape = (int(image.height), int(image.width), int(image.bands))
        """Height, width and stored channels (grey, grey + alpha, RGB or RGB + alpha)."""
        self.decoder_bytes = _WHOLE * self.shape[0] * self.shape[1] * nature.bits // 8 if whole else 0
        """What the decoder holds in memory, where it cannot work row by row."""

    def read(self, top: int, count: int) -> Samples:
        """Rows `top` to `top + count`, [count, width, channels]; each call goes on where the last one ended.

        Raises:
            ImageError: the file is damaged, or no room is left for the scratch file.
        """
        import pyvips

        _, width, channels = self.shape
        try:
            data = self._region.fetch(0, top, width, count)
        except pyvips.Error as error:
            raise _damaged(self.nature.source, error) from error
        return np.frombuffer(data, f"u{self.nature.bits // 8}").reshape(count, width, channels)


@contextmanager
def open_rows(path: Path) -> Iterator[Rows]:
    """Opens a picture of up to `MOST_PIXELS` for reading in bands; what is kept is what `read_picture` keeps.

    Raises:
        MissingDependency: pyvips is not installed.
        ImageError: as `read_picture`; also a kind of pixels that is not read in bands (CMYK, premultiplied alpha).
    """
    os.environ.setdefault("VIPS_DISC_THRESHOLD", _DISC_FROM)  # read once, when libvips first needs it
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the package is there and libvips is not
        raise MissingDependency("pyvips", "huge", "to restore a picture in parts") from error
    pyvips.cache_set_max(0)  # nothing is asked for twice
    with opened(path, MOST_PIXELS) as header:
        if header.mode not in _MODES:
            raise ImageError(f"{path} has {header.mode} pixels, which are not read in parts.", "Convert it to RGB.")
        if header.format not in _FORMATS:
            raise ImageError(f"{path} is a {header.format}, which is not read in parts.", "Convert it to PNG or TIFF.")
        whole = header.format == "WEBP" or bool(header.info.get("interlace") or header.info.get("progressive"))
        orientation = Image.Image.getexif(header).get(ORIENTATION, 1)
        turned = orientation in range(2, 9)
        opaque = header.format == "TIFF" and header.mode in ("RGB", "RGBX")
        exif, dpi, icc = upright_exif(header), dpi_of(header), header.info.get("icc_profile") or None
    try:
        image = pyvips.Image.new_from_file(str(path), access="random" if turned else "sequential", fail_on="truncated")
        if opaque and image.bands == 4:  # the fourth channel is no transparency
            image = image.extract_band(0, n=3)
        if turned:
            image = image.copy()
            image.set_type(pyvips.GValue.gint_type, "orientation", orientation)  # libvips does not look for it in XMP
            image = image.autorot()
    except pyvips.Error as error:
        raise _damaged(path, error) from error
    if image.format not in ("uchar", "ushort") or not 1 <= image.bands <= 4:
        raise ImageError(f"{path} has {image.bands} channels of {image.format}.", "Convert it to 8 or 16-bit RGB.")
    bits = 8 if image.format == "uchar" else 16
    empty = np.empty((0, image.width, 3), np.float32)
    alpha = np.empty((0, image.width), f"u{bits // 8}") if image.bands in (2, 4) else None
    yield Rows(image, Picture(empty, alpha, bits, image.bands < 3, icc, exif, dpi, path), whole)


@contextmanager
def write_rows(nature: Picture, target: Path, height: int, width: int) -> Iterator[RowWriter]:
    """Writes a picture as its rows come, as PNG or as a tiled TIFF (BigTIFF from 2 GiB of samples), without loss.

    The file takes its name when all rows were written; until then, and whatever happens, `target` stays as it was.

    Raises:
        UsageError, ImageError: as `check_target`; a format that needs the whole picture; a disk that is full.
    """
    suffix = target.suffix.lower()
    if suffix in WRITE_SUFFIXES and suffix not in ROW_SUFFIXES:
        raise ImageError(
            f"{target} cannot be written in parts, as a picture of this size is.", f"Use -o {target.stem}.tif or .png."
        )
    check_target(nature, target)
    channels = (1 if nature.grey else 3) + (nature.alpha is not None)
    try:
        with whole_or_nothing(target) as file:
            writer = (PngRows if suffix == ".png" else TiffRows)(file, (height, width, channels), nature)
            yield writer
            writer.finish()
    except OSError as error:
        raise ImageError(
            f"{target} cannot be written: {error.strerror}.", "Check the folder's permissions and space."
        ) from error


def _damaged(path: Path, error: Exception) -> ImageError:
    text = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{path} cannot be read: {text[:200].rstrip('. ')}.", "Get a whole copy.")
