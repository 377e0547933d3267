"""The library's front door: a picture of any kind in, the restored one of the same kind out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack, cast, get_type_hints, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nafnet_deploy.engines.base import Closing, Engine
from nafnet_deploy.errors import ConfigError, EngineError, ImageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture, to_samples
from nafnet_deploy.manifest import Bundle, ModelManifest, open_bundle
from nafnet_deploy.released import DEFAULT_MODEL, find_bundle
from nafnet_deploy.runtime.anytime import Wish
from nafnet_deploy.runtime.arrays import array_of, array_of_image, image_of, picture_of
from nafnet_deploy.runtime.files import fault_of, restore_file, restored_pixels
from nafnet_deploy.runtime.memory import parse_memory
from nafnet_deploy.runtime.opening import Opening
from nafnet_deploy.tables import nearest


class Options(TypedDict, total=False):
    """How a `Restorer` runs; what is left out is chosen for the machine and the picture."""

    iterations: int
    """Reasoning iterations N. Default: the model's."""
    max_iterations: int
    """Split bundles: at most so many. Default: those that were proved."""
    until_delta: float
    """Split bundles: stop when an iteration changes the picture by less (root mean square, white is 1)."""
    budget_ms: float
    """Split bundles: milliseconds for the network per picture."""
    quality: str
    """Split bundles that were calibrated: `fast`, `balanced` or `best`."""
    engine: str
    """A name of `engines.registry.ENGINES`, the path of a plan, or `auto`, the default."""
    trust_engine: bool
    """Load a plan given by path without asking whose it is: it runs as code. Default: no."""
    threads: int
    """CPU threads. Default: the engine's choice."""
    tile: str | int
    """`auto` (default), `off`, or the side of a square tile (pixels)."""
    overlap: int
    """Pixels that tiles share. Default: the model's."""
    ensemble: bool
    """Mean over the 8 flips and turns of the picture. Default: no."""
    memory: int | str
    """What the process may take, in bytes or as in `1500MB`: `restore_file` restores what needs more in parts."""
    note: Callable[[str], None]
    """Told in one line each which engines `auto` passed over, and why."""


class Restorer(Closing):
    """Restores pictures with one model. A context manager; one call at a time.

        with Restorer.from_pretrained("denoise-light", iterations=2) as restorer:
            restored = restorer(picture)

    Args:
        bundle: what `open_bundle` or `find_bundle` returned.
        options: see `Options`.

    Raises:
        ConfigError: an unknown or impossible option.
        MissingDependency, MachineError: what the engine needs is not there; the message names the extra.
        EngineError: the graph or plan does not fit.
    """

    def __init__(self, bundle: Bundle, **options: Unpack[Options]) -> None:
        options = _checked(options)
        wish = Wish(
            options.get("iterations"),
            options.get("max_iterations"),
            options.get("until_delta"),
            options.get("budget_ms"),
            quality=options.get("quality"),
        )
        self._manifest = bundle.manifest
        memory = options.get("memory")
        opening = Opening(
            bundle,
            options.get("engine", "auto"),
            wish,
            tile=options.get("tile", "auto"),
            overlap=options.get("overlap"),
            ensemble=options.get("ensemble", False),
            limit=parse_memory(memory) if isinstance(memory, str) else memory,
            threads=options.get("threads"),
            trust=options.get("trust_engine", False),
        )
        self._open = ExitStack()
        self._arrays = self._open.enter_context(opening.open(options.get("note")))

    @classmethod
    def from_pretrained(cls, name: str = DEFAULT_MODEL, **options: Unpack[Options]) -> Self:
        """Opens a released model by its name, e.g. `denoise-light`; see `nafnet_deploy.released.released_models`.

        Raises:
            CheckpointError: no such model.
            ConfigError, MissingDependency, MachineError, EngineError: see the class.
        """
        return cls(find_bundle(name), **options)

    @classmethod
    def from_bundle(cls, path: str | os.PathLike[str], **options: Unpack[Options]) -> Self:
        """Opens an exported bundle by the path of its `.onnx` or `.json` file.

        Raises:
            CheckpointError: the graph or its manifest is missing or unreadable.
            ConfigError, MissingDependency, MachineError, EngineError: see the class.
        """
        return cls(open_bundle(Path(path)), **options)

    @property
    def engine(self) -> Engine:
        """What runs the network; its `name` says engine and device as they really are."""
        return self._arrays.engine

    @property
    def manifest(self) -> ModelManifest:
        """The contract of the model."""
        return self._manifest

    @overload
    def __call__(self, picture: NDArray[Any]) -> NDArray[Any]: ...

    @overload
    def __call__(self, picture: Image.Image | str | os.PathLike[str]) -> Image.Image: ...

    def __call__(self, picture: NDArray[Any] | Image.Image | str | os.PathLike[str]) -> NDArray[Any] | Image.Image:
        """Restores one picture.

        Args:
            picture: an array [H, W] or [H, W, 1 to 4] (grey, grey and alpha, RGB, RGB and alpha; uint8, uint16, or
                float with black 0 and white 1), a Pillow image, or the path of a file.

        Returns:
            For an array, one of the same type and channels; for an image or a path, a Pillow image (of a file upright,
            with its profile, EXIF and resolution). A network that enlarges gives `scale` times the sides.

        Raises:
            ImageError: not a picture, a damaged one, or a file with 16 bits of colour, which Pillow cannot hold: use
                `restore_file`.
            ConfigError, EngineError: see `runtime.restorer.Restorer`.
        """
        if isinstance(picture, np.ndarray):
            samples = np.asarray(picture)  # of a subclass, e.g. a matrix
            return array_of(self._restored(picture_of(samples)), samples)
        if isinstance(picture, Image.Image):
            samples = array_of_image(picture)
            return image_of(array_of(self._restored(picture_of(samples)), samples), picture)
        if not isinstance(picture, str | os.PathLike):
            raise ImageError(f"a {type(picture).__name__} is no picture.", "Give an array, a Pillow image or a path.")
        read = read_picture(Path(picture))
        if read.bits > 8 and not (read.grey and read.alpha is None):
            raise ImageError(
                f"{picture} has 16 bits per colour, more than a Pillow image can hold.",
                "Use restorer.restore_file(source, target), which keeps them.",
            )
        return _as_image(self._restored(read))

    def restore_file(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        """Restores one file into another; depth, grey, alpha, profile, EXIF and resolution are kept.

        Raises:
            UsageError: the target is the source.
            ImageError: the source cannot be read or the target cannot be written.
            ConfigError, EngineError, MachineError: see `runtime.files.restore_file`.
        """
        restore_file(self._arrays, Path(source), Path(target))

    def close(self) -> None:
        """Frees the engine; calling it twice is harmless."""
        self._open.close()

    def _restored(self, picture: Picture) -> Picture:
        if self._arrays.views > 1:
            raise ImageError(f"{self._manifest.name} restores stereo pairs.", "Use: nafdeploy run LEFT RIGHT")
        restored = picture.with_pixels(restored_pixels(self._arrays, picture))
        if fault := fault_of(self._arrays):
            raise EngineError(f"{fault}.", "Check the bundle with: nafdeploy parity")
        return restored


def _checked(options: Options) -> Options:
    """The options that were given; None stands for one that was not."""
    kinds = get_type_hints(Options)
    for name, value in options.items():
        if name not in kinds:
            raise ConfigError(f"the option {name!r} is unknown.", nearest(name, kinds))
        kind: Any = Callable if name == "note" else float | int if kinds[name] is float else kinds[name]
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            continue
        words = getattr(kind, "__name__", str(kind).replace(" | ", " or "))
        raise ConfigError(f"{name}={value!r} is impossible.", f"Give {words}, or leave it out.")
    for name in ("iterations", "max_iterations", "threads", "memory"):
        value = options.get(name)
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"{name}={value} is impossible.", "Use a whole number, 1 or more.")
    return cast(Options, {name: value for name, value in options.items() if value is not None})


def _as_image(picture: Picture) -> Image.Image:
    samples = to_samples(picture)
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    known = {"icc_profile": picture.icc, "exif": picture.exif, "dpi": picture.dpi}
    image.info.update({key: value for key, value in known.items() if value is not None})
    return image
