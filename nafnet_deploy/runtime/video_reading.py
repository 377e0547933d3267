"""Reads clips: decoded frames and packets of sound in their order, and whether the file is whole."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nafnet_deploy.errors import ImageError
from nafnet_deploy.runtime.ffv1 import slices_are_whole
from nafnet_deploy.runtime.video_writing import converted

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_SLACK = 0.1
"""A clip that ends earlier than its header says by more (seconds) is cut off."""


@dataclasses.dataclass
class Frame:
    """A decoded frame on its way."""

    original: VideoFrame
    """What was decoded: time stamp, colours, format."""
    pixels: NDArray[Any]
    """[H, W, 3] RGB, uint8 or uint16; restored in between."""


class Clip:
    """The packets of an open clip, in their order."""

    def __init__(self, source: Path, container: InputContainer) -> None:
        moving = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not moving:
            raise ImageError(f"{source} holds no moving pictures.", "Give a clip.")
        self.source, self._container = source, container
        self._size: tuple[int, int] | None = None
        self._has_crc = False
        self._suspect: float | None = None
        self.video: VideoStream = moving[0]
        if self.video.codec_context is None:  # the container names no codec that is known here
            raise ImageError(
                f"{source} is damaged or in a format that cannot be decoded.",
                "Get a whole copy, or convert it with a newer ffmpeg: ffmpeg -i CLIP -c:v ffv1 -c:a copy CONVERTED.mkv",
            )
        self.video.thread_type = "AUTO"
        self.audio = list(container.streams.audio)
        self._kept = {self.video.index, *(stream.index for stream in self.audio)}
        kinds = {stream.type for stream in container.streams if stream.index not in self._kept}
        self.left_out = tuple(sorted(kinds | ({"transparency"} if _transparent(self.video) else set())))
        rate = self.video.average_rate
        self.expected = self.video.frames or (round(max(self._promised()) * rate) if rate else 0)

    def _promised(self) -> tuple[float, float]:
        """Seconds that the header promises of the moving picture and, in Matroska, of everything; 0: it does not."""
        if self.video.duration is not None and self.video.time_base is not None:
            return float(self.video.duration * self.video.time_base), 0.0
        said = re.fullmatch(r"(\d+):(\d+):([\d.]+)", self.video.metadata.get("DURATION", ""))
        own = 3600 * int(said[1]) + 60 * int(said[2]) + float(said[3]) if said else 0.0
        return own, (self._container.duration or 0) / 1e6

    def items(self) -> Iterator[Frame | Packet]:
        """Decoded frames, and packets of sound, as they come.

        Raises:
            ImageError: the clip is cut off or damaged, interlaced, or changes its size.
        """
        first = kept = every = 0.0
        whole = True
        for packet in self._container.demux():  # of what is left out too: it may be what lasts longest
            whole = whole and not packet.is_corrupt
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                first, every = min(first, end), max(every, end)
                kept = max(kept, end) if packet.stream.index in self._kept else kept
            if packet.stream is self.video:
                self._check_slices(packet)
                for frame in packet.decode():
                    self._check(frame)
                    deep = frame.format.components[0].bits > 8
                    yield Frame(frame, converted(frame, "rgb48le" if deep else "rgb24").to_ndarray())
            elif packet.dts is not None and packet.stream.index in self._kept:
                yield packet
        for promised, last in zip(self._promised(), (kept, every), strict=True):
            if not whole or last - first < promised - _SLACK:
                raise ImageError(
                    f"{self.source} is cut off: it says {promised:.1f} s and ends after {last - first:.1f} s.",
                    "Get a whole copy, or make one of what is there with: ffmpeg -i CLIP -c copy SHORTER",
                )

    def _check_slices(self, packet: Packet) -> None:
        """Refuses a damaged FFV1 frame. One that is right proves that this clip has CRC; without them none is."""
        if self.video.codec_context.name != "ffv1" or not packet.size:
            return
        if slices_are_whole(bytes(packet)):
            self._has_crc = True
        elif self._suspect is None:
            self._suspect = float((packet.pts or 0) * (packet.time_base or 0))
        if self._has_crc and self._suspect is not None:
            raise self._damaged(self._suspect)

    def _damaged(self, seconds: float | None) -> ImageError:
        return ImageError(
            f"{self.source} is damaged at {seconds or 0:.1f} s.",
            "Get a whole copy, or patch what is broken with: ffmpeg -i CLIP -c:v ffv1 -c:a copy PATCHED.mkv",
        )

    def _check(self, frame: VideoFrame) -> None:
        """Refuses a frame that could only be restored into something else than it was."""
        self._size = self._size or (frame.width, frame.height)
        if frame.is_corrupt:
            raise self._damaged(frame.time)
        if frame.interlaced_frame:  # a network takes both fields for one picture
            raise ImageError(
                f"{self.source} is interlaced.",
                "Make whole frames first with: ffmpeg -i CLIP -vf bwdif -c:v ffv1 -c:a copy WHOLE.mkv",
            )
        if (frame.width, frame.height) != self._size:
            old, new = (f"{width}x{height}" for width, height in (self._size, (frame.width, frame.height)))
            raise ImageError(
                f"{self.source} changes its size at {frame.time or 0:.1f} s, from {old} to {new} pixels.",
                "Cut it there, e.g. with: ffmpeg -i CLIP -t SECONDS -c copy PART",
            )


def _transparent(video: VideoStream) -> bool:
    """Whether a stream has an alpha channel; that of WebM is beside the pictures."""
    form = video.codec_context.format
    return "alpha_mode" in video.metadata or (form is not None and any(part.is_alpha for part in form.components))


class readable:
    """Turns what FFmpeg says of a source into one line."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from av.error import FFmpegError

        if isinstance(error, FFmpegError):
            reason = error.strerror or type(error).__name__
            raise ImageError(
                f"{self._source} is no clip that can be read: {reason}.", "Give a whole video file."
            ) from error
