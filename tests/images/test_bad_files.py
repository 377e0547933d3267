"""Pictures that cannot be read are refused in one line, and size limits are ours."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nafnet_deploy.errors import ImageError
from nafnet_deploy.images.files import read_picture
from tests.pictures import png16

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (70, 9, 4), dtype=np.uint16)  # more rows than one band of the writers


def _text(path: Path) -> None:
    path.write_text("this is not a picture\n" * 20)


def _empty(path: Path) -> None:
    path.touch()


def _truncated_png(path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    path.write_bytes(whole.getvalue()[:4000])


def _truncated_jpeg(path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "JPEG")
    path.write_bytes(whole.getvalue()[:2000])


def _truncated_tiff(path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "TIFF")
    path.write_bytes(whole.getvalue()[:2000])


def _truncated_compressed_tiff(path: Path) -> None:
    whole = io.BytesIO()
    image = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    image.save(whole, "TIFF", compression="tiff_adobe_deflate")
    data = bytearray(whole.getvalue())
    data[200:2000] = bytes(1800)  # the directory at the end stays whole, the pixels do not
    path.write_bytes(bytes(data))


def _truncated_deep_png(path: Path) -> None:
    path.write_bytes(png16(DEEP)[:2000])


def _zero_size(path: Path) -> None:
    path.write_bytes(png16(np.zeros((0, 0, 3), np.uint16)))


def _bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = png16(DEEP)
    chunk = b"IHDR" + header
    path.write_bytes(data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:])


def _animation(path: Path) -> None:
    frames = [Image.fromarray(RGBA[..., :3]), Image.fromarray(RGBA[::-1, :, :3])]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.png", png16(DEEP))


def _unknown_compression(path: Path) -> None:
    tifffile.imwrite(path, RGBA[..., :3], photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(34887)  # LERC


def _folder(path: Path) -> None:
    path.mkdir()


def _missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_text, "not a picture"),
        (_empty, "empty"),
        (_truncated_png, "damaged"),
        (_truncated_jpeg, "damaged"),
        (_truncated_tiff, "damaged"),
        (_truncated_compressed_tiff, "damaged"),
        (_truncated_deep_png, "damaged"),
        (_zero_size, "no pixels|damaged|not a picture"),
        (_bomb, "50000x50000"),
        (_animation, "2 pictures"),
        (_zip, "ZIP archive"),
        (_unknown_compression, "compression 34887"),
        (_folder, "folder"),
        (_missing, "does not exist"),
    ],
)
def test_a_bad_file_gives_one_line_with_a_mend(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: object, words: str
) -> None:
    path = tmp_path / "photo.png"
    make(path)  # type: ignore[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=words) as caught:
            read_picture(path)
    assert "\n" not in caught.value.message
    assert caught.value.mend
    assert "photo.png" in caught.value.message
    if make is not _truncated_compressed_tiff:  # libtiff's own line goes to stderr from C
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_pillows_own_size_limit_neither_warns_nor_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = tmp_path / f"large{suffix}"
    Image.new("RGB", (40, 30)).save(source)
    for limit in (30 * 40 - 1, 100):  # at the first Pillow warns, at the second it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_picture(source).pixels.shape == (30, 40, 3)
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.slow
def test_a_phone_of_two_hundred_megapixels_passes(tmp_path: Path) -> None:
    source = tmp_path / "large.png"
    Image.new("L", (16_320, 12_240)).save(source)
    assert read_picture(source).pixels.shape == (12_240, 16_320, 3)
