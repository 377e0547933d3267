"""Clips: every frame restored in order at its own time, sound copied as it is, the file whole or not there at all."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import ConfigError, EngineError, ImageError, MissingDependency, UsageError
from nafnet_deploy.images.picture import to_unit_range
from nafnet_deploy.runtime.files import fault_of
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.runtime.video_reading import Clip, Frame, readable
from nafnet_deploy.runtime.video_writing import CONTAINERS, Encoder
from nafnet_deploy.tables import nearest

if TYPE_CHECKING:
    from av.packet import Packet

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
"""Suffixes by which a clip is known, lower case."""
CODECS = {"h264": "libx264", "hevc": "libx265"}
"""Words of `--video-codec`, and FFmpeg's encoders."""
_WAITING = 3
"""Frames that wait to be encoded, at most."""

OnFrame = Callable[[int, int], None]
"""Told (frames done, frames expected; 0 when unknown) after each frame."""


@dataclasses.dataclass(frozen=True)
class ClipResult:
    """What became of a clip."""

    frames: int
    """Frames restored."""
    seconds: float
    """Time that it took."""
    left_out: tuple[str, ...]
    """What is not in the result: kinds of streams, e.g. `subtitle`, and `transparency`."""
    iterations: Counter[int]
    """How often each number of iterations ran, of an engine that decides for itself."""

    def to_json(self) -> dict[str, Any]:
        """The summary for machines."""
        rate = self.frames / self.seconds if self.seconds else 0.0
        return {
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(rate, 3),
            "left_out": list(self.left_out),
            "iterations": {str(n): times for n, times in sorted(self.iterations.items())},
        }


def clip_target(source: Path) -> Path:
    """`clip.mov` -> `clip_restored.mov`; what cannot be written (AVI, WebM) becomes `.mkv`."""
    suffix = source.suffix if source.suffix.lower() in CONTAINERS else ".mkv"
    return source.with_name(f"{source.stem}_restored{suffix}")


def restore_clip(
    restorer: Restorer,
    source: Path,
    target: Path,
    codec: str = "h264",
    crf: int = 18,
    on_frame: OnFrame | None = None,
) -> ClipResult:
    """Restores every frame of a clip's first moving picture.

    Kept: the order and times of the frames (variable rates too), rotation, sample aspect, colour tags, resolution of
    colour, 8 or more bits, chapters and tags; all sound is copied without re-encoding. Decoding, network and encoding
    overlap. Subtitles and transparency are left out.

    Args:
        restorer: of single pictures.
        source: what FFmpeg reads.
        target: `.mp4`, `.m4v`, `.mov` or `.mkv`; replaced when it is there.
        codec: one of `CODECS`.
        crf: constant rate factor of the encoder, 0 (no loss) to 51; 18 looks like the original.
        on_frame: told about progress.

    Raises:
        ConfigError: an unknown codec or an impossible factor.
        UsageError: the target is the source.
        ImageError: the source is no clip, damaged, cut off, interlaced or changes its size, or the target cannot be
            written or hold the sound.
        EngineError: see `Restorer`.
        MissingDependency: PyAV is not installed.
    """
    _check(source, target, codec, crf)
    try:
        import av
    except ImportError as error:
        raise MissingDependency("av", "video", "to read and write clips") from error
    began, part = time.perf_counter(), target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with readable(source), av.open(str(source)) as container:
            clip = Clip(source, container)
            encoder = Encoder(part, target, CODECS[codec], crf, clip.video, clip.audio, container)
            try:
                frames, iterations = _restore(restorer, clip, encoder, on_frame)
                encoder.finish()
            finally:
                encoder.close()
        try:
            part.replace(target)
        except OSError as error:
            raise ImageError(f"{target} cannot be written: {error.strerror}.", "Write elsewhere with -o.") from error
    finally:
        part.unlink(missing_ok=True)
    return ClipResult(frames, time.perf_counter() - began, clip.left_out, iterations)


def _restore(restorer: Restorer, clip: Clip, encoder: Encoder, on_frame: OnFrame | None) -> tuple[int, Counter[int]]:
    """Moves everything from the clip to the encoder; returns the number of frames and of iterations."""
    items, waiting, frames, iterations = clip.items(), deque[Future[None]](), 0, Counter[int]()

    def following() -> Frame | Packet | None:
        with readable(clip.source):
            return next(items, None)

    with ThreadPoolExecutor(1, "decode") as reading, ThreadPoolExecutor(1, "encode") as writing:
        try:
            ahead = reading.submit(following)
            while (item := ahead.result()) is not None:
                ahead = reading.submit(following)
                if isinstance(item, Frame):
                    item.pixels = _restored(restorer, item.pixels)
                    iterations.update(outcome.iterations for outcome in restorer.outcomes)
                    waiting.append(writing.submit(encoder.frame, item.original, item.pixels))
                    frames += 1
                else:
                    waiting.append(writing.submit(encoder.sound, item))
                while len(waiting) > _WAITING:
                    waiting.popleft().result()
                if on_frame is not None and isinstance(item, Frame):
                    on_frame(frames, clip.expected)
            for future in waiting:
                future.result()
        finally:
            writing.shutdown(wait=False, cancel_futures=True)
    if not frames:
        raise ImageError(f"{clip.source} holds no frame that can be decoded.", "Get a whole copy.")
    return frames, iterations


def _restored(restorer: Restorer, pixels: NDArray[Any]) -> NDArray[Any]:
    result = restorer.in_unit_range(to_unit_range(pixels))
    if fault := fault_of(restorer):
        raise EngineError(f"{fault}.", "Check the bundle with: nafdeploy parity")
    white = np.iinfo(pixels.dtype).max
    return np.rint(np.clip(result, 0, 1) * white).astype(pixels.dtype)


def _check(source: Path, target: Path, codec: str, crf: int) -> None:
    if codec not in CODECS:
        raise ConfigError(f"the video codec {codec!r} is unknown.", nearest(codec, tuple(CODECS)))
    if not 0 <= crf <= 51:
        raise ConfigError(f"--crf {crf} is impossible.", "Use 0 (no loss) to 51.")
    if source.exists() and not source.is_file():  # opening a pipe would wait for ever
        raise ImageError(f"{source} is not a file.", "Give a clip.")
    if target.suffix.lower() not in CONTAINERS:
        raise ImageError(f"{target} cannot be written as a clip.", f"Use one of {', '.join(CONTAINERS)}.")
    if not target.parent.is_dir():
        raise ImageError(f"the folder {target.parent} does not exist.", "Make it first, or write elsewhere.")
    if target.is_dir():
        raise ImageError(f"{target} is a folder.", "Give the name of a file.")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the input itself and is never overwritten.", "Give another output with -o.")
