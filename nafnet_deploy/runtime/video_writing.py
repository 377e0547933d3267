"""Encodes restored frames and copies sound into a new clip."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nafnet_deploy.errors import ImageError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
"""Suffixes of clips that can be written, and FFmpeg's names for them."""

_RGB, _BT709 = 0, 1
_LEAST_HEVC = 64
"""Pixels across: below, x265 as PyAV brings it writes outside its memory."""

_OF_FILES = ("compatible_brands", "encoder", "major_brand", "minor_version")
_OF_STREAMS = ("alpha_mode", "bps", "duration", "encoder", "number_of_", "_statistics_", "timecode", "vendor_id")
"""Beginnings of the names of tags that say of the old file what is not true of the new one."""


def converted(frame: VideoFrame, form: str, **target: Any) -> VideoFrame:
    """A frame in another pixel format. The quick way, the default, loses a level of brightness there and back."""
    from av.video.reformatter import Interpolation

    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return frame.reformat(format=form, interpolation=exact, **target)


class Encoder:
    """A clip being written; used from one thread at a time.

    Args:
        part: where it is written.
        target: the name that it will have; decides the container.
        encoder: FFmpeg's name, e.g. `libx264`.
        crf: constant rate factor.
        video: the stream that is restored.
        audio: the streams that are copied.
        container: whose tags and chapters are kept.

    Raises:
        ImageError: the file cannot be made, or the container cannot hold the sound.
    """

    def __init__(
        self,
        part: Path,
        target: Path,
        encoder: str,
        crf: int,
        video: VideoStream,
        audio: Sequence[AudioStream],
        container: InputContainer,
    ) -> None:
        import av

        self._target, self._source = target, video
        self._last: int | None = None
        self._start = self._end = 0
        """Of what is shown so far, in the source's time base."""
        self._delay: int | None = None
        """How much earlier than it is shown the first frame is decoded."""
        self._early: list[Packet] | None = []
        """Sound that came before the first frame, without which the file's header cannot be written."""
        with self._naming():
            tags = _without(container.metadata, _OF_FILES)
            # FFmpeg writes either the tags that cameras use or those of music players, never both
            flags = {"movflags": "use_metadata_tags"} if any("." in name for name in tags) else {}
            self._output = av.open(str(part), "w", format=CONTAINERS[target.suffix.lower()], container_options=flags)
            self._output.metadata.update(tags)
            options = {"crf": str(crf), "preset": "medium"}
            if encoder == "libx265":
                options["x265-params"] = "log-level=none"
            rate = video.average_rate or video.guessed_rate or 25
            self._video = self._output.add_stream(encoder, rate=rate, options=options)
            self._sound = {stream.index: self._output.add_stream_from_template(stream) for stream in audio}
            for stream, written in ((video, self._video), *((s, self._sound[s.index]) for s in audio)):
                named = _without(stream.metadata, _OF_STREAMS)
                if "name" in named:  # read so from MP4, and written there when it is called a title
                    named["title"] = named.pop("name")
                written.metadata.update(named)
                written.disposition = stream.disposition
            if chapters := container.chapters():
                self._output.set_chapters(chapters)

    def frame(self, original: VideoFrame, pixels: NDArray[Any]) -> None:
        """Encodes one frame.

        Args:
            original: what it was decoded from; gives time, colours and format.
            pixels: [H, W, 3] RGB, uint8 or uint16.

        Raises:
            ImageError: it cannot be encoded or written.
        """
        import av

        with self._naming():
            if self._early is not None:
                self._begin(original, pixels)
                early, self._early = self._early, None
                self._output.mux(early)
            form = "rgb24" if pixels.dtype.itemsize == 1 else "rgb48le"
            frame = converted(
                av.VideoFrame.from_ndarray(pixels, form),
                self._video.pix_fmt,
                dst_colorspace=_matrix(original.colorspace),
                dst_color_range=original.color_range,
            )
            frame.pts, frame.duration = self._time(original)
            frame.time_base = self._source.time_base
            self._mux(self._video.encode(frame))

    def sound(self, packet: Packet) -> None:
        """Copies one packet of sound.

        Raises:
            ImageError: it cannot be written.
        """
        with self._naming():
            packet.stream = self._sound[packet.stream.index]
            if self._early is None:
                self._output.mux(packet)
            else:
                self._early.append(packet)

    def finish(self) -> None:
        """Writes what the encoder still holds, and the end of the file.

        Raises:
            ImageError: it cannot be written.
        """
        with self._naming():
            self._mux(self._video.encode(None), final=True)
            self._output.close()

    def close(self) -> None:
        """Lets go of the file, whole or not."""
        with suppress(Exception):  # what is wrong with it was said before
            self._output.close()

    def _mux(self, packets: list[Packet], final: bool = False) -> None:
        if packets and self._delay is None:
            self._delay = self._start - (packets[0].dts or 0)
        if packets and final:
            self._end_on_time(packets)
        self._output.mux(packets)

    def _end_on_time(self, packets: list[Packet]) -> None:
        """Has the last frame shown as long as it was, though the last that is decoded may be another."""
        if self._source.duration is not None:  # of MP4, whose frames last from one decoding to the next
            self._end = max(self._end, (self._source.start_time or 0) + self._source.duration)
        latest, last = max(packets, key=lambda packet: packet.pts or 0), packets[-1]
        latest.duration = self._end - (latest.pts or 0)
        if self._target.suffix.lower() != ".mkv":  # MP4 adds up what lies between one decoding and the next
            last.duration = self._end - min(last.pts or 0, (last.dts or 0) + (self._delay or 0))

    def _begin(self, original: VideoFrame, pixels: NDArray[Any]) -> None:
        """The encoder's settings, known with the first restored frame."""
        from av.codec.context import Flags
        from av.sidedata.sidedata import Type

        stream, source = self._video, self._source.codec_context
        if stream.codec_context.codec.name == "libx265" and pixels.shape[1] < _LEAST_HEVC:
            raise ImageError(
                f"a result {pixels.shape[1]} pixels wide is too narrow for HEVC.", "Use --video-codec h264."
            )
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = self._pixel_format(original, pixels)
        stream.codec_context.time_base = self._source.time_base
        stream.codec_context.flags |= Flags.frame_duration
        if self._source.sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = self._source.sample_aspect_ratio
        for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, getattr(source, name))
        stream.codec_context.colorspace = _matrix(source.colorspace)
        if (matrix := original.side_data.get(Type.DISPLAYMATRIX)) is not None:
            stream.set_display_matrix(struct.unpack("9i", bytes(matrix)))

    def _pixel_format(self, original: VideoFrame, pixels: NDArray[Any]) -> str:
        """The source's own format, or the YUV that keeps its depth and the resolution of its colours."""
        form, name, (height, width) = original.format, str(original.format.name), pixels.shape[:2]
        known = {known.name for known in self._video.codec_context.codec.video_formats or ()}
        grey = sum(not part.is_alpha for part in form.components) == 1 and not form.has_palette
        across, down = (8, 8) if grey else (form.chroma_width(16), form.chroma_height(16))
        if height % 2 or width % 2:  # chroma of half the size needs even sides
            across = down = 16
        elif name in known and name.startswith(("yuv4", "yuvj4")):
            return name
        colour = "444" if across == 16 else "422" if down == 16 else "420"
        deep = "10le" if pixels.dtype.itemsize > 1 else ""
        most = f"yuv{colour}p12le"
        return most if form.components[0].bits > 10 and most in known else f"yuv{colour}p{deep}"

    def _time(self, original: VideoFrame) -> tuple[int, int]:
        """The frame's time stamp, later than the one before, as encoders demand, and how long it is shown."""
        duration = original.duration
        if not duration and self._source.average_rate and self._source.time_base:
            duration = round(1 / (self._source.average_rate * self._source.time_base))
        stamp, duration = original.pts or 0, max(duration, 1)
        if self._last is None:
            self._start = stamp
        elif original.pts is None or stamp <= self._last:
            stamp = self._last + (duration if original.pts is None else 1)
        self._last, self._end = stamp, stamp + duration
        return stamp, duration

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turns what FFmpeg says of the target into one line."""
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ImageError(
                f"{self._target} cannot be written: {reason}.",
                "Check the folder; a .mkv holds every kind of sound, an .mp4 does not.",
            ) from error


def _matrix(colorspace: int) -> int:
    """How luma and colour are made of RGB, as FFmpeg numbers it: that of the source, BT.709 of one that has no luma."""
    return _BT709 if colorspace == _RGB else colorspace


def _without(tags: Mapping[str, str], beginnings: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.lower().startswith(beginnings)}
