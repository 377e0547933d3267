"""Tiles: where they lie, what they hold, and that both of a pair are cut alike."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.util import view_as_windows

from nafnet_deploy.data.pairs import find_pairs
from nafnet_deploy.data.tiles import TileConfig, tile_folder, tile_starts
from nafnet_deploy.errors import ConfigError, UsageError
from nafnet_deploy.images.files import read_picture
from tests.data.folders import photo, pixels, snapshot
from tests.pictures import png16

SMALL = TileConfig(16, 8)


def place(path: Path) -> tuple[int, int]:
    """(top, left) as the name of a tile tells."""
    _, top, left = path.stem.rsplit("_", 2)
    return int(top[1:]), int(left[1:])


def test_a_frame_of_720p_gives_eight_tiles_or_four_without_the_remainder() -> None:
    assert tile_starts(1280, TileConfig()) == tile_starts(1280, TileConfig(border="drop")) == (0, 256, 512, 768)
    assert tile_starts(720, TileConfig()) == (0, 208)
    assert tile_starts(720, TileConfig(border="drop")) == (0,)


@given(length=st.integers(1, 400), size=st.integers(1, 120), data=st.data())
def test_tiles_cover_a_side_step_by_step(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    starts = tile_starts(length, TileConfig(size, overlap))
    dropped = tile_starts(length, TileConfig(size, overlap, "drop"))
    if length <= size:
        assert starts == dropped == (0,)
        return
    covered = np.zeros(length, bool)
    for start in starts:
        covered[start : start + size] = True
    assert covered.all()
    assert starts[-1] == length - size
    assert all(second - first == size - overlap for first, second in pairwise(starts[:-1]))
    assert dropped == tuple(range(0, len(view_as_windows(np.arange(length), size)), size - overlap))
    assert set(dropped) <= set(starts)


@pytest.mark.parametrize("border", ["shift", "drop"])
def test_a_tile_holds_the_pixels_that_its_name_tells(tmp_path: Path, border: str) -> None:
    frame = photo(tmp_path / "in" / "a.jpg", (50, 37))
    result = tile_folder(tmp_path / "in", tmp_path / "out", TileConfig(16, 8, border))
    tiles = sorted((tmp_path / "out").iterdir())
    assert tiles[0].name == "a_y000000_x000000.png"
    assert (result.frames, result.tiles, result.failed) == (1, len(tiles), ())
    assert len(tiles) == (4 * 6 if border == "shift" else 3 * 5)
    whole = pixels(frame)
    for path in tiles:
        top, left = place(path)
        assert np.array_equal(pixels(path), whole[top : top + 16, left : left + 16])


@pytest.mark.parametrize(("size", "expected"), [((9, 7), [(7, 9)]), ((9, 24), [(16, 9), (16, 9)])])
def test_a_side_shorter_than_a_tile_is_kept_whole(
    tmp_path: Path, size: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    photo(tmp_path / "in" / "a.png", size)
    tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    assert [pixels(path).shape[:2] for path in sorted((tmp_path / "out").iterdir())] == expected


@pytest.mark.parametrize(("degraded", "clean"), [("degraded", "clean"), ("blur", "sharp")])
def test_pairs_are_cut_at_the_same_places_and_pair_again(tmp_path: Path, degraded: str, clean: str) -> None:
    for kind, suffix, seed in ((degraded, "jpg", 1), (clean, "png", 2)):
        for name in "ab":
            photo(tmp_path / "in" / kind / f"{name}.{suffix}", (40, 24), seed)
    result = tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    assert (result.frames, result.tiles, result.kinds) == (2, 16, (degraded, clean))
    pairs = find_pairs("paired" if clean == "clean" else "gopro", tmp_path / "out", "train")
    assert len(pairs) == 16
    for pair in pairs:
        top, left = place(pair.clean)
        assert pair.degraded is not None
        for path, source in ((pair.clean, f"{clean}/a.png"), (pair.degraded, f"{degraded}/a.jpg")):
            whole = pixels(tmp_path / "in" / source)
            assert np.array_equal(pixels(path), whole[top : top + 16, left : left + 16])


def test_sequences_are_cut_into_one_flat_data_set(tmp_path: Path) -> None:
    for sequence in ("GOPR1", "GOPR2"):
        for kind in ("blur", "sharp"):
            photo(tmp_path / "in" / sequence / kind / "0001.png", (16, 16))
    tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    assert sorted(snapshot(tmp_path / "out")) == [
        f"{kind}/{sequence}-0001_y000000_x000000.png" for kind in ("blur", "sharp") for sequence in ("GOPR1", "GOPR2")
    ]


def test_depth_and_transparency_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    deep = np.random.default_rng(1).integers(0, 65536, (20, 20, 4), dtype=np.uint16)
    (tmp_path / "in" / "deep.png").write_bytes(png16(deep))
    Image.new("L", (20, 20), 77).save(tmp_path / "in" / "grey.png")
    tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    tile = read_picture(tmp_path / "out" / "deep_y000004_x000000.png")
    assert tile.bits == 16
    assert tile.alpha is not None
    assert np.array_equal(tile.alpha, deep[4:20, :16, 3])
    assert np.array_equal(np.round(tile.pixels * 65535), deep[4:20, :16, :3])
    assert read_picture(tmp_path / "out" / "grey_y000000_x000000.png").grey


def test_a_bad_frame_leaves_out_its_pair_and_the_others_are_cut(tmp_path: Path) -> None:
    for kind in ("degraded", "clean"):
        for name in "abc":
            photo(tmp_path / "in" / kind / f"{name}.jpg", (40, 24))
    header_gone, body_gone = tmp_path / "in/degraded/a.jpg", tmp_path / "in/clean/b.jpg"
    header_gone.write_text("no picture")
    body_gone.write_bytes(body_gone.read_bytes()[:-300])
    result = tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    assert result.frames == 1
    assert [failure.source.name for failure in result.failed] == ["a.jpg", "b.jpg"]
    assert all(path.name.startswith("c_") for path in (tmp_path / "out").rglob("*.png"))
    assert len(find_pairs("paired", tmp_path / "out", "train")) == 8


def test_tiles_of_another_size_do_not_stay_behind(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", (40, 24))
    photo(tmp_path / "out" / "other_y000000_x000000.png")
    tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    with pytest.raises(UsageError, match=r"8 files exist, .*--overwrite"):
        tile_folder(tmp_path / "in", tmp_path / "out", TileConfig(24, 0))
    tile_folder(tmp_path / "in", tmp_path / "out", TileConfig(24, 0, overwrite=True))
    assert sorted(snapshot(tmp_path / "out")) == [
        "a_y000000_x000000.png",
        "a_y000000_x000016.png",
        "other_y000000_x000000.png",
    ]


def test_frames_that_do_not_pair_stop_it_before_anything_is_written(tmp_path: Path) -> None:
    photo(tmp_path / "in/degraded/a.png")
    photo(tmp_path / "in/clean/b.png")
    with pytest.raises(ConfigError, match="2 files do not pair"):
        tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    shutil.rmtree(tmp_path / "in/clean")
    with pytest.raises(ConfigError, match="lacks the folder clean"):
        tile_folder(tmp_path / "in", tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["in", "in/seq", "link"])
def test_it_never_writes_among_its_inputs(tmp_path: Path, out: str) -> None:
    for kind in ("blur", "sharp"):
        photo(tmp_path / "in/seq" / kind / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = snapshot(tmp_path / "in")
    with pytest.raises(UsageError, match="folder of the inputs"):
        tile_folder(tmp_path / "in", tmp_path / out, SMALL)
    assert snapshot(tmp_path / "in") == before


@pytest.mark.parametrize(("fields", "words"), [((0, 0), "--size 0"), ((8, 8), "--overlap 8"), ((8, 0, "pad"), "pad")])
def test_impossible_settings_are_named(fields: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TileConfig(*fields)
