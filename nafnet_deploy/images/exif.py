"""EXIF: the orientation a camera asks for, and a block that no longer asks for it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

ORIENTATION = ExifTags.Base.Orientation
TURNED = (5, 6, 7, 8)
"""Orientations that exchange height and width."""
_HEADER = b"Exif\x00\x00"
_WHOLE_NUMBERS = {3: "H", 4: "I"}  # types of the tag that are read; the standard asks for 3, writers differ
# A TIFF file mixes its storage tags with these descriptive ones; only these survive into another file.
_TIFF_TAGS = ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened picture, 1 (upright) to 8; anything else counts as 1."""
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns an array [H, W] or [H, W, C] the way its EXIF orientation asks; the result is contiguous."""
    if orientation in TURNED:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def upright_exif(image: Image.Image) -> bytes | None:
    """The EXIF block of an opened and loaded picture with its orientation reset; None when it has none.

    The block is patched in place where possible: re-encoding would break the offsets inside maker notes.
    """
    if image.format == "TIFF":
        return _from_tiff(image.getexif())
    raw = image.info.get("exif")
    if not isinstance(raw, bytes) or not raw:
        return None
    return _reset_orientation(raw if raw.startswith(_HEADER) else _HEADER + raw)


def _reset_orientation(block: bytes) -> bytes:
    data = bytearray(block)
    start = len(_HEADER)
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[start : start + 2]))
    if order is None:
        return block
    try:
        directory = start + struct.unpack_from(order + "I", data, start + 4)[0]
        for i in range(struct.unpack_from(order + "H", data, directory)[0]):
            entry = directory + 2 + 12 * i
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            if tag == ORIENTATION and kind in _WHOLE_NUMBERS:
                struct.pack_into(order + _WHOLE_NUMBERS[kind], data, entry + 8, 1)
    except struct.error:  # a damaged block: Pillow could not have read an orientation from it either
        return block
    return bytes(data)


def _from_tiff(tags: Image.Exif) -> bytes | None:
    block = Image.Exif()
    for name in _TIFF_TAGS:
        tag = ExifTags.Base[name]
        if tag in tags:
            block[tag] = tags[tag]
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if content := tags.get_ifd(directory):
            block[directory] = dict(content)
    return block.tobytes() if len(block) else None
