"""Nothing is overwritten, half-written or silently reduced."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import check_target, write_picture


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)).save(path)
    return read_picture(path)


def _same(photo: Path) -> Path:
    return photo


def _spelled(photo: Path) -> Path:
    (photo.parent / "sub").mkdir()
    return photo.parent / "sub" / ".." / photo.name


def _symlink(photo: Path) -> Path:
    link = photo.with_name("link.png")
    link.symlink_to(photo)
    return link


def _hard_link(photo: Path) -> Path:
    link = photo.with_name("link.png")
    os.link(photo, link)
    return link


@pytest.mark.parametrize("disguise", [_same, _spelled, _symlink, _hard_link])
def test_the_input_is_never_overwritten(picture: Picture, disguise: object) -> None:
    before = picture.source.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        write_picture(picture, disguise(picture.source))  # type: ignore[operator]
    assert picture.source.read_bytes() == before


def test_an_older_result_is_replaced(picture: Picture, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_text("old")
    write_picture(picture, target)
    assert np.array_equal(np.asarray(Image.open(target)), np.asarray(Image.open(picture.source)))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("out.xyz", "suffix"),
        ("out", "suffix"),
        ("out.bmp", "suffix"),
        ("missing/out.png", "does not exist"),
        ("photo.png/out.png", "does not exist"),
        ("folder.png", "is a folder"),
        ("x" * 300 + ".png", "cannot be written|too long"),
    ],
)
def test_an_impossible_target_gives_one_line(picture: Picture, tmp_path: Path, target: str, words: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=words) as caught:
        write_picture(picture, tmp_path / target)
    assert "\n" not in caught.value.message
    assert caught.value.mend
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "photo.png"]


def test_alpha_is_not_dropped_into_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4)).save(tmp_path / "in.png")
    with pytest.raises(ImageError, match="transparency"):
        write_picture(read_picture(tmp_path / "in.png"), tmp_path / "out.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "in.png")
    with pytest.raises(ImageError, match="16 bits"):
        write_picture(read_picture(tmp_path / "in.png"), tmp_path / f"out{suffix}")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_breaks_leaves_nothing_behind(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = tmp_path / "out.png"
    target.write_text("old")

    def half_write(self: Image.Image, file: object, **options: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(Image.Image, "save", half_write)
    wanted = ImageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        write_picture(picture, target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", "photo.png"]


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65_500), (".webp", 16_383), (".png", None), (".tif", None)])
def test_sides_beyond_the_format_are_refused_before_any_work(tmp_path: Path, suffix: str, most: int | None) -> None:
    Image.new("RGB", (most or 70_000, 1)).save(tmp_path / "in.png")
    picture, target = read_picture(tmp_path / "in.png"), tmp_path / f"out{suffix}"
    write_picture(picture, target)
    assert Image.open(target).size == (most or 70_000, 1)
    if most:
        with pytest.raises(ImageError, match=f"cannot hold {2 * most}x2 pixels.* ends at {most} a side"):
            check_target(picture, target, scale=2)


def test_a_result_has_ordinary_permissions(picture: Picture, tmp_path: Path) -> None:
    write_picture(picture, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode == picture.source.stat().st_mode
