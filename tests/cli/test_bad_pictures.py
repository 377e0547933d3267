"""Pictures, outputs and options that `nafdeploy run` must refuse: one line, the code, nothing written."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from tests.cli.conftest import Command, photo, snapshot


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose body is nearly empty."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def make_bad(folder: Path, kind: str) -> Path:
    path = folder / ("a.jpg" if kind == "truncated" else "a.png")
    if kind == "text":
        path.write_text("This is no picture.\n")
    elif kind == "truncated":
        photo(path, (200, 160))
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "bomb":
        path.write_bytes(png_of(60_000, 60_000))
    elif kind == "no pixels":
        path.write_bytes(png_of(0, 16))
    elif kind == "no bytes":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["does not exist", "Check the path"]),
        ("text", ["not a picture", "PNG"]),
        ("truncated", ["damaged", "whole copy"]),
        ("bomb", ["60000x60000", "limit"]),
        ("no pixels", ["a.png"]),
        ("no bytes", ["empty"]),
    ],
)
def test_a_bad_picture_is_refused(command: Command, tiny: Path, tmp_path: Path, kind: str, words: list[str]) -> None:
    path = make_bad(tmp_path, kind)
    before = snapshot(tmp_path)
    command("run", path, "-m", tiny, "-o", tmp_path / "out.png").refused(2, path.name, *words)
    assert snapshot(tmp_path) == before


def test_the_process_itself_ends_the_same_way(spawn: Command, tiny: Path, tmp_path: Path) -> None:
    path = make_bad(tmp_path, "truncated")
    spawn("run", path, "-m", tiny).refused(2, "damaged")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--iters", "0"], 2, ["--iters 0", "1 or more"]),
        (["--iters", "-2"], 2, ["--iters -2", "1 or more"]),
        (["--iters", "4"], 6, ["4 iterations", "has 3", "nafdeploy export CHECKPOINT --iters 4"]),
        (["--tile", "1"], 2, ["tile of 1", "Use 4 or more"]),
        (["--tile", "small"], 2, ["'small'", "auto, off"]),
        (["--tile", "32", "--overlap", "32"], 2, ["overlap of 32", "0 to 31"]),
        (["--overlap", "2000"], 2, ["overlap of 2000", "--tile"]),
        (["--overlap", "-1"], 2, ["overlap of -1", "0 or more"]),
        (["--threads", "0"], 2, ["--threads 0", "1 or more"]),
        (["--memory", "much"], 2, ["'much'", "--memory 1500MB"]),
        (["--memory", "10MB"], 2, ["10 MB of memory do not suffice", "At least", "--memory"]),
    ],
)
def test_impossible_options_are_refused(
    command: Command, tiny: Path, picture: Path, options: list[str], code: int, words: list[str]
) -> None:
    before = snapshot(picture.parent)
    command("run", picture, "-m", tiny, *options).refused(code, *words)
    assert snapshot(picture.parent) == before


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("a.png", ["is the input itself", "-o"]),
        ("nowhere/b.png", ["nowhere does not exist"]),
        ("a.png/b.png", ["a.png does not exist"]),
        ("b.gif", ["'.gif'", ".png"]),
        ("b", ["suffix ''", ".png"]),
        ("x" * 300 + ".png", ["too long", "-o"]),
    ],
)
def test_an_impossible_output_is_refused(
    command: Command, tiny: Path, picture: Path, out: str, words: list[str]
) -> None:
    before = snapshot(picture.parent)
    command("run", picture, "-m", tiny, "-o", picture.parent / out).refused(2, *words)
    assert snapshot(picture.parent) == before


def test_a_link_to_the_input_is_the_input(command: Command, tiny: Path, picture: Path) -> None:
    link = picture.with_name("link.png")
    link.symlink_to(picture)
    before = picture.read_bytes()
    command("run", picture, "-m", tiny, "-o", link).refused(2, "is the input itself")
    assert picture.read_bytes() == before


def test_a_folder_never_lands_in_itself_nor_below_a_file(command: Command, tiny: Path, picture: Path) -> None:
    folder = picture.parent
    before = snapshot(folder)
    command("run", folder, "-m", tiny, "-o", folder).refused(2, "folder of the inputs", "-o")
    command("run", folder, "-m", tiny, "-o", picture / "out").refused(2, "cannot be made", "-o")
    assert snapshot(folder) == before


def test_a_folder_without_pictures_is_refused(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    command("run", tmp_path / "in", "-m", tiny).refused(2, "holds no pictures", ".png")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
