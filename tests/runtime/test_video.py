"""Clips: frames in their order and at their times, sound as it was, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.runtime.video import clip_target, restore_clip

FRAMES, SIDE = 24, 64
TICKS = [40 * n for n in range(FRAMES)]
UNEVEN = [40 * n + (300 if n > 7 else 0) + (11 if n % 3 == 0 else 0) for n in range(FRAMES)]


def picture(number: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A smooth frame whose mean brightness tells its number."""
    ramp = np.linspace(0, 40, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    return (ramp + np.array([0, 20, 40]) + 5 * number).astype(np.uint8)


def write(
    path: Path,
    ticks: list[int] = TICKS,
    sound: str | None = "aac",
    size: tuple[int, int] = (SIDE, SIDE),
    pix_fmt: str = "yuv420p",
    turned: int = 0,
    bt709: bool = False,
    codec: str = "libx264",
    **options: str,
) -> Path:
    """A clip with one frame at each time (milliseconds), and sound of the same length."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as out:
        video = out.add_stream(codec, rate=25, options={"crf": "1", "g": "6", **options})
        video.height, video.width, video.pix_fmt = *size, pix_fmt
        video.codec_context.time_base = Fraction(1, 1000)
        if turned:
            video.set_display_rotation(turned)
        if bt709:
            video.codec_context.colorspace, video.codec_context.color_range = 1, 1
        audio = out.add_stream(sound, rate=44100) if sound else None
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=1 if bt709 else None)
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            samples = np.sin(np.arange(44100 * ticks[-1] // 1000) / 20).astype(np.float32)
            for start in range(0, len(samples) - 1023, 1024):
                tone = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
                tone.rate, tone.pts, tone.time_base = 44100, start, Fraction(1, 44100)
                out.mux(audio.encode(tone))
            out.mux(audio.encode(None))
    return path


def write_with_subtitle(path: Path, seconds: float) -> Path:
    """A clip of the frames of `write` with one line of text, shown from the beginning for so long."""
    with av.open(str(write(path.with_name("bare.mkv"), sound=None))) as bare, av.open(str(path), "w") as out:
        video, text = out.add_stream_from_template(bare.streams.video[0]), out.add_stream("ass")
        text.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\n[Events]\n"
        out.start_encoding()
        line = av.Packet(b"0,0,Default,,0,0,0,,hello")
        line.stream, line.pts, line.dts, line.duration = text, 0, 0, round(seconds * 1000)
        line.time_base = Fraction(1, 1000)
        out.mux(line)
        for packet in bare.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    return path


def write_slides(path: Path, reordered: bool) -> Path:
    """Four frames, the last of which is shown from 2 to 6 s; `reordered` ones are not decoded in their order."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"b-adapt": "0", "bf": "2" if reordered else "0"})
        video.height, video.width, video.codec_context.time_base = SIDE, SIDE, Fraction(1, 1000)
        packets = []
        for tick in (0, 1000, 1500, 2000):
            frame = av.VideoFrame.from_ndarray(picture(5), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        for packet in packets:
            packet.duration = {0: 1000, 2000: 4000}.get(packet.pts, 500)
        if path.suffix == ".mp4":  # its frames last from one decoding to the next
            packets[-1].duration = 6000 - min(packets[-1].pts, packets[-1].dts - packets[0].dts)
        out.mux(packets)
    return path


def times(path: Path) -> list[float]:
    """Seconds at which the frames are shown, from the first."""
    with av.open(str(path)) as clip:
        stamps = [float(frame.pts * frame.time_base) for frame in clip.decode(video=0)]
    return [stamp - stamps[0] for stamp in stamps]


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in clip.decode(video=0)]


def sounds(path: Path) -> list[bytes]:
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(audio=0) if packet.size]


@pytest.fixture
def same(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Restorer:
    """Changes nothing."""
    return Restorer(numpy_engine(lambda batch: batch), manifest())


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


def test_sound_that_the_container_cannot_hold_names_one_that_can(same: Restorer, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", sound="pcm_f32le")
    with pytest.raises(ImageError, match="mkv"):
        restore_clip(same, source, tmp_path / "b.m4v")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]
    restore_clip(same, source, tmp_path / "b.mkv")


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


def test_default_names() -> None:
    given = ("a.mp4", "b.MOV", "c.avi", "d.webm")
    assert [clip_target(Path(name)).name for name in given] == [
        "a_restored.mp4",
        "b_restored.MOV",
        "c_restored.mkv",
        "d_restored.mkv",
    ]
