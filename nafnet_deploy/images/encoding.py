"""PNG and TIFF writers for what Pillow cannot write: 16-bit colour, and TIFFs that keep their EXIF directories."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nafnet_deploy.images.picture import Samples

_BAND_ROWS = 64
_DEFLATE_LEVEL = 3


def write_deep_png(
    file: IO[bytes],
    samples: Samples,
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> None:
    """Writes uint16 [H, W, 1 to 4] as a PNG: grey, grey + alpha, RGB or RGB + alpha."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    height, width, channels = samples.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))
    if icc:
        chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if dpi:
        per_metre = [round(d / 0.0254) for d in dpi]
        chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    deflate = zlib.compressobj(_DEFLATE_LEVEL)
    above = np.zeros(width * channels * 2, np.uint8)
    for top in range(0, height, _BAND_ROWS):
        rows = samples[top : top + _BAND_ROWS].astype(">u2").view(np.uint8).reshape(-1, above.size)
        filtered = np.full((len(rows), above.size + 1), 2, np.uint8)  # filter 2: the difference to the row above
        filtered[0, 1:] = rows[0] - above
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        above = rows[-1]
        if data := deflate.compress(filtered.tobytes()):
            chunk(b"IDAT", data)
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")


def write_tiff(
    file: IO[bytes],
    samples: Samples,
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> None:
    """Writes uint8 or uint16 [H, W, 1 to 4] as a deflated TIFF: grey, grey + alpha, RGB or RGB + alpha."""
    height, width, channels = samples.shape
    bits = 8 * samples.dtype.itemsize
    strips = []
    for top in range(0, height, _BAND_ROWS):
        rows = samples[top : top + _BAND_ROWS].astype(samples.dtype.newbyteorder("<"))
        rows[:, 1:] -= rows[:, :-1].copy()  # predictor 2: the difference to the pixel on the left
        strips.append(zlib.compress(rows.tobytes(), _DEFLATE_LEVEL))
    tags = ImageFileDirectory_v2(b"II\x2a\x00\x00\x00\x00\x00")
    if exif:
        block = Image.Exif()
        block.load(exif)
        for tag in block:
            is_directory = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
            tags[tag] = dict(block.get_ifd(tag)) if is_directory else block[tag]
    tags.tagtype.update({256: 4, 257: 4, 273: 4, 278: 4, 279: 4})  # LONG, whatever the values
    tags[256], tags[257], tags[258] = width, height, (bits,) * channels  # width, height, bits
    tags[259], tags[317] = 8, 2  # deflate, predictor
    tags[262] = 2 if channels >= 3 else 1  # RGB or black is zero
    tags[277], tags[284], tags[339] = channels, 1, (1,) * channels  # samples, interleaved, unsigned
    tags[274] = 1  # upright
    if channels in (2, 4):
        tags[338] = 2  # the last channel is plain (unassociated) alpha
    if icc:
        tags[34675] = icc
    if dpi:
        tags[282], tags[283], tags[296] = *dpi, 2
    sizes = [len(s) for s in strips]
    tags[278], tags[279] = _BAND_ROWS, tuple(sizes)
    tags[273] = tuple(sum(sizes[:i]) for i in range(len(sizes)))  # Pillow shifts them behind the directory
    head = io.BytesIO()
    tags.save(head)
    file.write(head.getvalue())
    for strip in strips:
        file.write(strip)
