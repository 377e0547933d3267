"""Clips that cannot be restored into what they were: refused in one line, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.ffv1 import slices_are_whole
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.runtime.video import restore_clip
from tests.runtime.clips import (
    SIDE,
    picture,
    write,
    write_with_subtitle,
)


def test_interlaced_frames_are_refused_with_what_makes_whole_ones(same: Restorer, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", sound=None, **{"x264-params": "interlaced=1:tff=1"})
    with pytest.raises(ImageError, match="bwdif"):
        restore_clip(same, source, tmp_path / "b.mkv")


def test_a_clip_that_changes_its_size_is_refused(same: Restorer, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video = out.add_stream("mjpeg", rate=25)
        video.height, video.width, video.pix_fmt = SIDE, SIDE, "yuvj420p"
        out.start_encoding()
        for number, side in enumerate((SIDE, SIDE, 2 * SIDE)):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = side, side, "yuvj420p", Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(picture(number, side, side), "rgb24")
            for packet in encoder.encode(frame):
                packet.stream, packet.pts, packet.dts, packet.time_base = video, number, number, Fraction(1, 25)
                out.mux(packet)
    with pytest.raises(ImageError, match="from 64x64 to 128x128"):
        restore_clip(same, tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("share", [0.05, 0.6, 0.8])
def test_a_clip_that_is_cut_off_is_refused_and_nothing_is_written(
    same: Restorer, tmp_path: Path, suffix: str, share: float
) -> None:
    content = write(tmp_path / f"a{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError) as refused:
        restore_clip(same, cut, tmp_path / f"b{suffix}")
    assert refused.value.mend
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"a{suffix}", cut.name])


@pytest.mark.parametrize("seconds", [0.1, 60])
def test_a_cut_off_clip_is_refused_whatever_it_holds_beside_the_picture(
    same: Restorer, tmp_path: Path, seconds: float
) -> None:
    source = write_with_subtitle(tmp_path / "a.mkv", seconds)
    assert restore_clip(same, source, tmp_path / "b.mkv").left_out == ("subtitle",)
    content = source.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(ImageError, match="cut off"):
        restore_clip(same, tmp_path / "cut.mkv", tmp_path / "c.mkv")
    assert not (tmp_path / "c.mkv").exists()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_clip_that_is_damaged_in_the_middle_is_refused(same: Restorer, tmp_path: Path, codec: str) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video = out.add_stream(codec, rate=25, options={"bf": "0"})
        video.height, video.width, video.pix_fmt = SIDE, SIDE, "yuv420p"
        packets = []
        for number in range(9):
            noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
            packets += video.encode(av.VideoFrame.from_ndarray(noise, "rgb24"))
        for number, packet in enumerate([*packets, *video.encode(None)]):
            if number == 5:
                content = bytes(packet)
                half, stamp = len(content) // 2, packet.pts
                packet = av.Packet(content[:half] + bytes(range(24)) + content[half + 24 :])
                packet.stream, packet.pts, packet.dts, packet.time_base = video, stamp, stamp, Fraction(1, 25)
            out.mux(packet)
    with pytest.raises(ImageError, match="damaged at"):
        restore_clip(same, tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


def _lossless(path: Path, spoilt: int | None = None, **options: str) -> Path:
    """A clip of five FFV1 frames, of which one has some bytes of its middle replaced."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=25, options=options)
        video.height, video.width, video.pix_fmt = SIDE, SIDE, "yuv420p"
        packets = []
        for number in range(5):
            packets += video.encode(av.VideoFrame.from_ndarray(picture(number, SIDE, SIDE), "rgb24"))
        for number, packet in enumerate([*packets, *video.encode(None)]):
            if number == spoilt:
                content, stamp = bytearray(packet), packet.pts
                content[len(content) // 2] ^= 0x55
                packet = av.Packet(bytes(content))
                packet.stream, packet.pts, packet.dts, packet.time_base = video, stamp, stamp, Fraction(1, 25)
            out.mux(packet)
    return path


@pytest.mark.parametrize("spoilt", [0, 2, 4])
@pytest.mark.parametrize("slices", ["4", "16"])
def test_a_damaged_lossless_frame_is_found_by_its_crc(same: Restorer, tmp_path: Path, spoilt: int, slices: str) -> None:
    """FFmpeg decodes it and marks it with nothing."""
    source = _lossless(tmp_path / "a.mkv", spoilt, level="3", slices=slices)
    with pytest.raises(ImageError, match=rf"damaged at {spoilt / 25:.1f} s"):
        restore_clip(same, source, tmp_path / "b.mkv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


@pytest.mark.parametrize("options", [{"level": "3"}, {"level": "3", "slicecrc": "0"}, {"level": "1"}])
def test_a_whole_lossless_clip_is_restored_with_or_without_crc(
    same: Restorer, tmp_path: Path, options: dict[str, str]
) -> None:
    assert restore_clip(same, _lossless(tmp_path / "a.mkv", **options), tmp_path / "b.mkv").frames == 5


@settings(max_examples=200)
@given(st.binary(max_size=400))
@example(bytes(8))
@example(bytes(400))
def test_bytes_that_are_no_frame_are_not_whole(content: bytes) -> None:
    assert not slices_are_whole(content)


def test_a_clip_of_an_unknown_format_is_refused(same: Restorer, tmp_path: Path) -> None:
    content = write(tmp_path / "a.mp4", sound=None).read_bytes()
    assert content.count(b"avc1") >= 1
    (tmp_path / "a.mp4").write_bytes(content.replace(b"avc1", b"zzzz"))
    with pytest.raises(ImageError, match="in a format that cannot be decoded"):
        restore_clip(same, tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_a_pipe_is_refused_without_waiting_for_it(same: Restorer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match="not a file"):
        restore_clip(same, tmp_path / "a.mp4", tmp_path / "b.mp4")


@pytest.mark.parametrize("content", [b"just text\n" * 50, b"\0" * 4000])
def test_what_is_no_clip_is_refused(same: Restorer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ImageError, match="no clip"):
        restore_clip(same, tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_impossible_targets_are_refused(same: Restorer, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", sound=None)
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "folder.mp4").mkdir()
    for target in ("a.mp4", "link.mp4"):
        with pytest.raises(UsageError, match="never overwritten"):
            restore_clip(same, source, tmp_path / target)
    for target in ("b.gif", "no/b.mp4", "folder.mp4"):
        with pytest.raises(ImageError):
            restore_clip(same, source, tmp_path / target)


def test_a_network_that_fails_writes_nothing(
    numpy_engine: type, manifest: Callable[..., ModelManifest], tmp_path: Path
) -> None:
    source = write(tmp_path / "a.mp4")
    with pytest.raises(Exception, match="not numbers"):
        restore_clip(Restorer(numpy_engine(lambda b: b * np.nan), manifest()), source, tmp_path / "b.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
