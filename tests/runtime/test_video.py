"""Clips: frames in their order and at their times, sound as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.runtime.video import clip_target, restore_clip
from tests.runtime.clips import (
    FRAMES,
    SIDE,
    TICKS,
    UNEVEN,
    frames,
    picture,
    sounds,
    times,
    write,
    write_slides,
)


@pytest.fixture
def inverting(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Restorer:
    return Restorer(numpy_engine(lambda batch: 1 - batch), manifest())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("ticks", [TICKS, UNEVEN], ids=["even", "uneven"])
def test_frames_keep_their_order_and_times_and_the_sound_is_copied(
    inverting: Restorer, tmp_path: Path, suffix: str, ticks: list[int]
) -> None:
    source, target = write(tmp_path / f"a{suffix}", ticks), tmp_path / f"b{suffix}"
    before, seen = source.read_bytes(), []
    result = restore_clip(inverting, source, target, on_frame=lambda done, total: seen.append((done, total)))
    assert result.frames == FRAMES
    assert [done for done, _ in seen] == list(range(1, FRAMES + 1))
    assert np.allclose(times(target), times(source), atol=0.0015)
    for old, new in zip(frames(source), frames(target), strict=True):
        assert np.abs(255 - old - new).mean() < 3
    assert sounds(target) == sounds(source) != []
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source.name, target.name])


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize(("suffix", "result"), [(".mkv", ".mp4"), (".mp4", ".mkv"), (".mp4", ".mov"), (".mkv", ".mkv")])
def test_the_last_frame_is_shown_as_long_as_it_was(
    same: Restorer, tmp_path: Path, suffix: str, result: str, reordered: bool
) -> None:
    source, target = write_slides(tmp_path / f"a{suffix}", reordered), tmp_path / f"b{result}"
    restore_clip(same, source, target)
    assert np.allclose(times(target), [0, 1, 1.5, 2], atol=0.0015)
    for name in (source, target):
        with av.open(str(name)) as clip:
            assert clip.duration == pytest.approx(6e6, abs=2e3), name


def test_a_clip_without_sound_gets_none(same: Restorer, tmp_path: Path) -> None:
    restore_clip(same, write(tmp_path / "a.mp4", sound=None), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as clip:
        assert [stream.type for stream in clip.streams] == ["video"]


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_rotation_is_kept(same: Restorer, tmp_path: Path, turned: int) -> None:
    restore_clip(same, write(tmp_path / "a.mp4", turned=turned, size=(48, 64)), tmp_path / "b.mp4")
    for name in ("a.mp4", "b.mp4"):
        with av.open(str(tmp_path / name)) as clip:
            frame = next(clip.decode(video=0))
            assert (abs(frame.rotation), frame.height, frame.width) == (abs(turned), 48, 64)
            assert turned == 180 or frame.rotation == turned


def test_the_colour_matrix_is_kept_and_colours_do_not_drift(same: Restorer, tmp_path: Path) -> None:
    restore_clip(same, write(tmp_path / "a.mp4", bt709=True), tmp_path / "b.mp4", crf=1)
    with av.open(str(tmp_path / "b.mp4")) as clip:
        assert next(clip.decode(video=0)).colorspace == 1
    for old, new in zip(frames(tmp_path / "a.mp4"), frames(tmp_path / "b.mp4"), strict=True):
        assert np.abs((old - new).mean(axis=(0, 1))).max() < 1


def test_a_clip_stored_as_rgb_says_how_its_colours_are_made_now(same: Restorer, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video = out.add_stream("libx264rgb", rate=25, options={"crf": "1"})
        video.height, video.width, video.pix_fmt = SIDE, SIDE, "rgb24"
        for number in range(3):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        out.mux(video.encode(None))
    restore_clip(same, tmp_path / "a.mkv", tmp_path / "b.mkv", crf=1)
    with av.open(str(tmp_path / "b.mkv")) as clip:
        frame = next(clip.decode(video=0))
        assert (frame.format.name, frame.colorspace) == ("yuvj444p", 1)
        # by the formula of BT.709, which the tag names, and not by a library that may pass over the tag
        assert frame.color_range == 2, "full, as RGB is"
        y, u, v = (part.mean() for part in frame.to_ndarray())
    red, blue = y + 1.5748 * (v - 128), y + 1.8556 * (u - 128)
    wanted = picture(0).mean(axis=(0, 1))
    assert abs(red - wanted[0]) < 2
    assert abs(blue - wanted[2]) < 2


@pytest.mark.parametrize(
    ("size", "pix_fmt", "expected"),
    [
        ((45, 63), "yuv444p", "yuv444p"),
        ((64, 64), "yuv420p10le", "yuv420p10le"),
        ((64, 64), "yuv422p", "yuv422p"),
        ((64, 64), "yuv444p12le", "yuv444p10le"),
        ((64, 64), "yuv411p", "yuv422p"),
        ((64, 64), "gbrp10le", "yuv444p10le"),
        ((64, 64), "bgr0", "yuv444p"),
        ((64, 64), "gray", "yuv420p"),
    ],
)
def test_odd_sizes_and_depth_and_resolution_of_colours_are_kept(
    same: Restorer, tmp_path: Path, size: tuple[int, int], pix_fmt: str, expected: str
) -> None:
    source = write(tmp_path / "a.mkv", size=size, pix_fmt=pix_fmt, sound=None, codec="ffv1")
    assert restore_clip(same, source, tmp_path / "b.mkv").left_out == ()
    with av.open(str(tmp_path / "b.mkv")) as clip:
        frame = next(clip.decode(video=0))
        assert (frame.height, frame.width, frame.format.name) == (*size, expected)


@pytest.mark.parametrize(("pix_fmt", "expected"), [("yuva420p", "yuv420p"), ("yuva444p10le", "yuv444p10le")])
def test_transparency_is_left_out_and_named(same: Restorer, tmp_path: Path, pix_fmt: str, expected: str) -> None:
    source = write(tmp_path / "a.mkv", pix_fmt=pix_fmt, sound=None, codec="ffv1")
    for codec in ("h264", "hevc"):
        assert restore_clip(same, source, tmp_path / "b.mkv", codec).left_out == ("transparency",)
        with av.open(str(tmp_path / "b.mkv")) as clip:
            assert clip.streams.video[0].format.name == expected


def test_the_encoder_and_its_factor_are_the_user_s(same: Restorer, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", sound=None)
    restore_clip(same, source, tmp_path / "b.mp4", "hevc", 30)
    with av.open(str(tmp_path / "b.mp4")) as clip:
        assert clip.streams.video[0].codec_context.name == "hevc"
    restore_clip(same, source, tmp_path / "fine.mp4", crf=5)
    restore_clip(same, source, tmp_path / "coarse.mp4", crf=45)
    assert (tmp_path / "coarse.mp4").stat().st_size < (tmp_path / "fine.mp4").stat().st_size
    with pytest.raises(ImageError, match="h264"):  # x265 damages this process's memory
        restore_clip(same, write(tmp_path / "narrow.mp4", size=(32, 48)), tmp_path / "x.mp4", "hevc")
    for codec, crf in (("vp9", 18), ("h264", 52), ("h264", -1)):
        with pytest.raises(ConfigError):
            restore_clip(same, source, tmp_path / "x.mp4", codec, crf)


def test_sound_that_the_container_cannot_hold_names_one_that_can(same: Restorer, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", sound="pcm_f32le")
    with pytest.raises(ImageError, match="mkv"):
        restore_clip(same, source, tmp_path / "b.m4v")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]
    restore_clip(same, source, tmp_path / "b.mkv")


@pytest.mark.parametrize(
    ("suffix", "result", "tags"),
    [
        (".mov", ".mov", {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.location.ISO6709": "+48.1+011.5/"}),
        (".mov", ".mp4", {"com.apple.quicktime.make": "Apple", "title": "Film"}),
        (".mp4", ".mp4", {"title": "Film", "artist": "me"}),
        (".mkv", ".mkv", {"title": "Film", "ARTIST": "me"}),
    ],
)
def test_tags_and_the_roles_of_the_streams_are_kept(
    same: Restorer, tmp_path: Path, suffix: str, result: str, tags: dict[str, str]
) -> None:
    bare, source = write(tmp_path / "bare.mkv"), tmp_path / f"a{suffix}"
    options = {"movflags": "use_metadata_tags"} if suffix == ".mov" else {}
    with av.open(str(bare)) as first, av.open(str(bare)) as second, av.open(str(source), "w", options=options) as out:
        out.metadata.update(tags)
        parts = [first.streams.video[0], first.streams.audio[0], second.streams.audio[0]]
        streams = [out.add_stream_from_template(part) for part in parts]
        streams[0].metadata.update({"title": "Main view", "language": "ita"})
        streams[1].disposition, streams[2].disposition = Disposition.comment, Disposition.default
        for part, stream in zip(parts, streams, strict=True):
            part.container.seek(0)
            for packet in part.container.demux(part):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    restore_clip(same, source, tmp_path / f"b{result}")
    with av.open(str(source)) as before, av.open(str(tmp_path / f"b{result}")) as clip:
        assert clip.metadata.items() >= tags.items()
        assert {"Main view", "ita"} <= set(clip.streams.video[0].metadata.values())
        first_sound, default = (stream.disposition for stream in clip.streams.audio)
        assert first_sound == before.streams.audio[0].disposition  # MOV knows no comments
        assert default == Disposition.default != first_sound


def test_default_names() -> None:
    given = ("a.mp4", "b.MOV", "c.avi", "d.webm")
    assert [clip_target(Path(name)).name for name in given] == [
        "a_restored.mp4",
        "b_restored.MOV",
        "c_restored.mkv",
        "d_restored.mkv",
    ]
