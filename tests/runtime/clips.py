"""Small clips, and what is in them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

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
