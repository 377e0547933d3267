"""A size from the header is the size that reading the picture gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from nafnet_deploy.errors import ImageError
from nafnet_deploy.images.files import read_picture, read_size


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_s_size_is_the_picture_s_own_whatever_its_orientation(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (9, 5), (10, 200, 30)).save(path, exif=exif)
    assert read_size(path) == read_picture(path).pixels.shape[:2]
    assert read_size(path) == ((9, 5) if orientation > 4 else (5, 9))


def test_pixels_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert read_size(path) == (64, 48)
    with pytest.raises(ImageError, match="damaged"):
        read_picture(path)


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"text", "not a picture"), (None, "not exist")])
def test_a_file_without_a_header_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_size(path)
