"""Pictures restored for many clients at once: engines by number of iterations, in threads that share them."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nafnet_deploy.engines.plan_choice import iterations_of
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.colormap import colours
from nafnet_deploy.images.files import read_picture, read_size
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.writing import check_target, write_picture
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.runtime.anytime import Wish
from nafnet_deploy.runtime.files import restored_pixels
from nafnet_deploy.runtime.memory import memory_budget
from nafnet_deploy.runtime.opening import Opening
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.serving.batching import BatchingEngine
from nafnet_deploy.serving.gate import PixelGate
from nafnet_deploy.serving.metrics import Metrics
from nafnet_deploy.serving.problems import Refused
from nafnet_deploy.serving.settings import Settings

_WARM_UP_SIDE = 64
_BRIGHTEST = 99.5
"""Percentile of a change that its map shows as brightest."""

Pixels = NDArray[np.float32]


class Gone(Exception):
    """The client does not wait for its picture any more."""


class Workshop:
    """One model, ready for many threads.

    Args:
        bundle: what `find_bundle` returned.
        settings: limits and engine.
        metrics: where work is counted.

    Raises:
        ConfigError: a stereo network, which takes two pictures.
        MissingDependency, MachineError, EngineError: see `Opening`.
    """

    def __init__(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> None:
        self._bundle, self._settings, self._metrics = bundle, settings, metrics
        self._memory = memory_budget()
        self._gate = PixelGate(settings.max_pixels)
        self._device, self._opening = threading.Lock(), threading.Lock()
        self._restorers: dict[int, Restorer] = {}
        self._open = ExitStack()
        if bundle.manifest.model.views > 1:
            raise ConfigError(
                f"{bundle.manifest.name} restores stereo pairs, which the server does not take.",
                "Use: nafdeploy run LEFT RIGHT",
            )
        planned = iterations_of(settings.engine)
        self.default = self._opening_of(settings.iterations).iterations
        """Iterations when a request names none."""
        self.choices = tuple(range(1, bundle.manifest.iterations + 1)) if planned is None else (planned,)
        """Iterations that a request may name."""
        self.engine = self.restorer(self.default).engine.name
        """Engine and device as they really are."""

    def warm_up(self) -> None:
        """Runs the network once, so that the first client does not pay for it."""
        self.restorer(self.default).in_unit_range(np.zeros((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), np.float32))

    def check_iterations(self, n: int | None) -> int:
        """The number of iterations for a request.

        Raises:
            Refused: the model does not offer it.
        """
        if n is None:
            return self.default
        if n not in self.choices:
            offered = f"1 to {self.choices[-1]}" if len(self.choices) > 1 else f"{self.choices[0]} alone"
            raise Refused(422, f"{n} iterations are not offered.", f"{self._bundle.manifest.name} offers {offered}.")
        return n

    def restorer(self, n: int) -> Restorer:
        """The restorer of n iterations; its engine is opened when it is first needed.

        Raises:
            MissingDependency, MachineError, EngineError: see `Opening`.
        """
        with self._opening:
            if n not in self._restorers:
                settings = self._settings
                opened = self._open.enter_context(self._opening_of(n).open()).engine
                engine = BatchingEngine(
                    opened,
                    settings.batch,
                    settings.wait_ms / 1e3,
                    self._batch_limit,
                    self._device,
                    self._metrics.batches.observe,
                )
                self._open.push(engine)
                self._restorers[n] = Restorer(engine, self._bundle.manifest, memory=self._memory)
            return self._restorers[n]

    def restore(self, source: Path, targets: Sequence[Path], n: int, gone: threading.Event) -> tuple[Path, float]:
        """Restores a file into another; see `write_picture` for what is kept.

        Args:
            source: the picture.
            targets: where it may go; the first whose format can hold it is written.
            n: iterations.
            gone: set when nobody waits for the result any more.

        Returns:
            The file that was written, and seconds that the network took, waiting for others included.

        Raises:
            Refused: more pixels than the server takes.
            ImageError: not a picture, or one that no target can hold.
            Gone: nobody waits any more.
            ConfigError, EngineError, MachineError: see `Restorer`.
        """
        with self._admitted(source, gone) as pixels:
            with self._timed("read"):
                picture = read_picture(source)
            target = _first_that_holds(picture, targets, self._bundle.manifest.scale)
            began = time.perf_counter()
            with self._timed("restore"):
                restored = restored_pixels(self.restorer(n), picture, lambda done, total: _check(gone))
            seconds = time.perf_counter() - began
            with self._timed("write"):
                write_picture(picture.with_pixels(restored), target)
            self._metrics.pixels.inc(pixels)
        return target, seconds

    def stages(self, source: Path, gone: threading.Event) -> Generator[dict[str, Any]]:
        """The middle of a picture after every number of iterations that the model offers.

        First comes what was given: `size` (width, height), `crop` (x, y, width, height), `input`. Then for each number
        of iterations: `iterations`, `ms` (one run), `rms` (change against the one before, of the first against the
        input; black to white is 1), `picture`, and `change`, a map of that change from dark (none) to bright
        (`amplified` times the change is 1). Pictures are PNG data URLs.

        Raises:
            Refused, ImageError, Gone, ConfigError, EngineError: see `restore`.
        """
        with self._admitted(source, gone):
            whole = read_picture(source).pixels
            height, width, _ = whole.shape
            x, y, w, h = _middle(width, height, self._settings.preview_pixels)
            shown = whole[y : y + h, x : x + w].copy()
            del whole
            yield {"size": [width, height], "crop": [x, y, w, h], "input": _png(shown), "choices": list(self.choices)}
            before = _enlarged(shown, self._bundle.manifest.scale)
            for n in self.choices:
                restorer = self.restorer(n)
                began = time.perf_counter()
                picture = restorer.in_unit_range(shown, lambda done, total: _check(gone))
                seconds = time.perf_counter() - began
                difference = np.abs(picture - np.clip(before, 0, 1)).mean(axis=2)
                brightest = max(float(np.percentile(difference, _BRIGHTEST)), 1e-7)
                yield {
                    "iterations": n,
                    "ms": round(seconds * 1e3, 1),
                    "rms": float(np.sqrt(np.mean((picture - before) ** 2))),
                    "amplified": round(1 / brightest),
                    "picture": _png(picture),
                    "change": _data_url(Image.fromarray(colours(difference / brightest))),
                }
                before = picture

    def close(self) -> None:
        """Finishes what runs and frees the engines."""
        self._open.close()

    def _opening_of(self, n: int | None) -> Opening:
        settings = self._settings
        return Opening(self._bundle, settings.engine, Wish(n), threads=settings.threads, trust=settings.trust_engine)

    @contextmanager
    def _admitted(self, source: Path, gone: threading.Event) -> Iterator[int]:
        """Waits until the picture may be decoded; gives its pixels."""
        height, width = read_size(source)
        if height * width > self._settings.max_pixels:
            raise Refused(
                413,
                f"the picture has {width}x{height} pixels, more than the {self._settings.max_pixels} that are taken.",
                "Send a smaller one, or raise --max-pixels.",
            )
        began = time.perf_counter()
        with self._gate.let_in(height * width):
            self._metrics.stages.labels("wait").observe(time.perf_counter() - began)
            _check(gone)
            yield height * width

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        with self._metrics.stages.labels(stage).time():
            yield

    def _batch_limit(self, shape: tuple[int, ...]) -> int:
        """How many inputs of a shape [B, C, H, W] fit into the memory for activations."""
        manifest = self._bundle.manifest
        per_pixel = manifest.activation_bytes_per_pixel + manifest.activation_bytes_per_column * shape[3]
        return int(self._memory / max(per_pixel * shape[2] * shape[3], 1.0))


def _check(gone: threading.Event) -> None:
    if gone.is_set():
        raise Gone


def _first_that_holds(picture: Picture, targets: Sequence[Path], scale: int) -> Path:
    """The first target that can hold a picture; where none can, what the first lacks is told."""
    for target in targets:
        with suppress(ImageError):
            check_target(picture, target, scale)
            return target
    check_target(picture, targets[0], scale)
    return targets[0]


def _middle(width: int, height: int, pixels: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the middle of a picture, in its shape, of at most so many pixels."""
    share = min(1.0, (pixels / (width * height)) ** 0.5)
    w, h = max(int(width * share), 1), max(int(height * share), 1)
    return (width - w) // 2, (height - h) // 2, w, h


def _enlarged(pixels: Pixels, scale: int) -> Pixels:
    """What a picture would be without a network that enlarges: every pixel repeated."""
    return pixels if scale == 1 else np.repeat(np.repeat(pixels, scale, axis=0), scale, axis=1)


def _png(pixels: Pixels) -> str:
    return _data_url(Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)))


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    try:
        image.save(file, format="PNG", compress_level=1)
    except OSError as error:
        raise ImageError(f"the picture cannot be written: {error}.") from error
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
