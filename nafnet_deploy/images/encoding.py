"""PNG and TIFF writers that take rows as they come, for what Pillow cannot write: 16-bit colour, TIFFs that keep their
EXIF directories, and pictures that never are in memory as a whole."""

from __future__ import annotations

import struct
import zlib
from typing import IO, Protocol

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nafnet_deploy.images.padding import round_up
from nafnet_deploy.images.picture import Picture, Samples

_BAND_ROWS = 64
_DEFLATE_LEVEL = 3
_TILE = 256
_SMALL_TIFF = 2**31  # bytes of samples that a classic TIFF surely holds, deflated or not
_LONG, _LONG8 = 4, 16


class RowWriter(Protocol):
    """Writes a picture from top to bottom."""

    def rows(self, samples: Samples) -> None:
        """Takes the next rows, uint8 or uint16 [any number, width, channels]."""

    def finish(self) -> None:
        """Ends the file, when all rows were given."""


class PngRows:
    """A PNG of uint8 or uint16 samples: grey, grey + alpha, RGB or RGB + alpha.

    Args:
        file: takes the bytes; need not seek.
        shape: height, width and channels (1 to 4).
        nature: gives depth, ICC profile, EXIF and resolution.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int, int], nature: Picture) -> None:
        self._file, self._depth = file, nature.bits // 8
        height, width, channels = shape
        file.write(b"\x89PNG\r\n\x1a\n")
        colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, nature.bits, colour, 0, 0, 0))
        if nature.icc:
            self._chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(nature.icc))
        if nature.dpi:
            self._chunk(b"pHYs", struct.pack(">IIB", *(round(d / 0.0254) for d in nature.dpi), 1))
        if nature.exif:
            self._chunk(b"eXIf", nature.exif.removeprefix(b"Exif\0\0"))
        self._deflate = zlib.compressobj(_DEFLATE_LEVEL)
        self._above = np.zeros(width * channels * self._depth, np.uint8)

    def rows(self, samples: Samples) -> None:
        """Takes the next rows, [any number, width, channels]."""
        for top in range(0, len(samples), _BAND_ROWS):
            band = samples[top : top + _BAND_ROWS].astype(f">u{self._depth}")
            rows = band.view(np.uint8).reshape(-1, self._above.size)
            filtered = np.full((len(rows), self._above.size + 1), 2, np.uint8)  # filter 2: less the row above
            filtered[0, 1:] = rows[0] - self._above
            filtered[1:, 1:] = rows[1:] - rows[:-1]
            self._above = rows[-1]
            if data := self._deflate.compress(filtered.tobytes()):
                self._chunk(b"IDAT", data)

    def finish(self) -> None:
        """Ends the file."""
        self._chunk(b"IDAT", self._deflate.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


class TiffRows:
    """A deflated TIFF of uint8 or uint16 samples in tiles: grey, grey + alpha, RGB or RGB + alpha.

    It is a BigTIFF from 2 GiB of samples. The directory stands in front and is written last, into room kept for it.

    Args:
        file: takes the bytes; must seek.
        shape: height, width and channels (1 to 4).
        nature: gives depth, ICC profile, EXIF and resolution.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int, int], nature: Picture) -> None:
        self._file, self._shape, self._nature = file, shape, nature
        height, width, channels = shape
        self._dtype = np.dtype(f"<u{nature.bits // 8}")
        self._big = height * width * channels * self._dtype.itemsize >= _SMALL_TIFF
        self._tile = min(_TILE, round_up(height, 16)), min(_TILE, round_up(width, 16))
        count = -(-height // self._tile[0]) * -(-width // self._tile[1])
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._pending: list[Samples] = []
        file.write(b"\0" * len(self._head([0] * count, [0] * count)))

    def rows(self, samples: Samples) -> None:
        """Takes the next rows, [any number, width, channels]."""
        while len(samples):
            lack = self._tile[0] - sum(map(len, self._pending))
            self._pending.append(samples[:lack].copy())
            samples = samples[lack:]
            if lack == len(self._pending[-1]):
                self._write_tiles()

    def finish(self) -> None:
        """Ends the file."""
        if self._pending:
            self._write_tiles()
        self._file.seek(0)
        self._file.write(self._head(self._offsets, self._sizes))

    def _write_tiles(self) -> None:
        rows = np.concatenate(self._pending)
        self._pending = []
        height, width = self._tile
        for left in range(0, rows.shape[1], width):
            part = rows[:, left : left + width]
            padding = [(0, height - len(part)), (0, width - part.shape[1]), (0, 0)]
            tile = np.pad(part.astype(self._dtype), padding, mode="edge")
            tile[:, 1:] -= tile[:, :-1].copy()  # predictor 2: the difference to the pixel on the left
            data = zlib.compress(tile.tobytes(), _DEFLATE_LEVEL)
            self._offsets.append(self._file.tell())
            self._sizes.append(len(data))
            self._file.write(data)

    def _head(self, offsets: list[int], sizes: list[int]) -> bytes:
        """The header and the directory, equally long for equally many tiles."""
        (height, width, channels), nature = self._shape, self._nature
        start = 16 if self._big else 8
        prefix = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if self._big else struct.pack("<2sHI", b"II", 42, start)
        tags = ImageFileDirectory_v2(prefix)
        if nature.exif:
            block = Image.Exif()
            block.load(nature.exif)
            for tag in block:
                is_directory = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
                tags[tag] = dict(block.get_ifd(tag)) if is_directory else block[tag]
        wide = _LONG8 if self._big else _LONG
        tags.tagtype.update({256: _LONG, 257: _LONG, 322: _LONG, 323: _LONG, 324: wide, 325: wide})
        tags[256], tags[257], tags[258] = width, height, (nature.bits,) * channels
        tags[259], tags[317] = 8, 2  # deflate, predictor
        tags[262] = 2 if channels >= 3 else 1  # RGB or black is zero
        tags[277], tags[284], tags[339] = channels, 1, (1,) * channels  # samples, interleaved, unsigned
        tags[274] = 1  # upright
        tags[322], tags[323] = self._tile[1], self._tile[0]
        tags[324], tags[325] = tuple(offsets), tuple(sizes)
        if channels in (2, 4):
            tags[338] = 2  # the last channel is plain (unassociated) alpha
        if nature.icc:
            tags[34675] = nature.icc
        if nature.dpi:
            tags[282], tags[283], tags[296] = *nature.dpi, 2
        return prefix + tags.tobytes(start)


def write_whole(writer: RowWriter, samples: Samples) -> None:
    """Writes a picture that is in memory."""
    writer.rows(samples)
    writer.finish()
