"""What half precision costs the picture: noisy crops restored by a half graph and by its network in float32."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.environment import Environment, read_environment
from nafnet_deploy.errors import UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES, read_picture
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.report import check_schema, read_report, report_json
from nafnet_deploy.parity.run import Pictures

SCHEMA = 1
MAX_CHANGE = 0.02
"""The mean PSNR of the restored pictures may change by less than this (dB)."""
MIN_AGREEMENT = 60.0
"""Every restored picture must agree with float32's by more than this (dB)."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """One crop; a value per iteration n = 1..N. All PSNR in dB, range 1."""

    name: str
    """File it was cut from."""
    full: tuple[float, ...]
    """PSNR of float32's picture against the clean one, clipped to [0, 1]."""
    half: tuple[float, ...]
    """PSNR of the half graph's picture against the clean one, clipped to [0, 1]."""
    agreement: tuple[float, ...]
    """PSNR of the half graph's picture against float32's."""


@dataclasses.dataclass(frozen=True)
class HalfReport:
    """Truthy when half precision leaves every iteration's pictures as good as they were."""

    model: str
    """Name in the manifest."""
    checkpoint_sha256: str
    """Hash of the checkpoint file; empty for random weights."""
    provenance: dict[str, str]
    """Where the weights come from."""
    folder: str
    """Name of the folder of clean pictures."""
    sigma: float
    """Standard deviation of the Gaussian noise, in steps of 255."""
    seed: int
    """Seed of the one generator that draws the noise of all crops, in their order."""
    pixels: int
    """Height and width of a crop."""
    float32_islands: dict[str, str]
    """What stayed in float32, and why."""
    half_share: float
    """Share of the convolutions' multiply-adds in float16."""
    crops: tuple[Crop, ...]
    """In name order."""
    environment: Environment
    """The machine and its packages."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "half-precision report")

    def __bool__(self) -> bool:
        return bool(self.crops) and all(
            abs(self.mean("half", n) - self.mean("full", n)) < MAX_CHANGE and self.worst(n) > MIN_AGREEMENT
            for n in self.iterations
        )

    @property
    def iterations(self) -> range:
        """1..N."""
        return range(1, len(self.crops[0].full) + 1 if self.crops else 1)

    def mean(self, kind: str, n: int) -> float:
        """Mean PSNR (dB) of `full` or `half` after iteration n."""
        return math.fsum(getattr(crop, kind)[n - 1] for crop in self.crops) / len(self.crops)

    def worst(self, n: int) -> float:
        """The lowest agreement (dB) after iteration n."""
        return min(crop.agreement[n - 1] for crop in self.crops)

    def to_json(self) -> str:
        """The report as JSON text; `HalfReport.from_json` reads it back equal."""
        return report_json(self, bool(self))

    @classmethod
    def from_json(cls, text: str, where: str = "half-precision report") -> HalfReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        return read_report(cls, text, where)

    def table(self) -> Table:
        """One row per iteration."""
        table = Table(title=f"{self.model}, {len(self.crops)} crops of {self.folder}, sigma {self.sigma:g}")
        for heading in ("N", "PSNR in float32", "PSNR in float16", "Change", "Lowest agreement"):
            table.add_column(heading, justify="right")
        for n in self.iterations:
            full, half = self.mean("full", n), self.mean("half", n)
            table.add_row(str(n), f"{full:.3f}", f"{half:.3f}", f"{half - full:+.4f} dB", f"{self.worst(n):.1f} dB")
        return table


def measure(
    manifest: ModelManifest,
    half: Callable[[int], Engine],
    network: Pictures,
    crops: Mapping[str, NDArray[np.float32]],
    folder: str,
    sigma: float,
    seed: int = 0,
    checkpoint_sha256: str = "",
) -> HalfReport:
    """Restores noisy crops with the half graph of every iteration and with the network in float32.

    Args:
        manifest: the half graph's.
        half: opens the half graph cut to n iterations, in its own arithmetic.
        network: the network in float32.
        crops: clean [1, 3, H, H] in [0, 1] by name, all of one size that the network takes.
        folder: name of their folder, for the report.
        sigma: standard deviation of the added noise, in steps of 255; nothing is clipped.
        seed: of the noise.
        checkpoint_sha256: hash of the weights' file, for the report.
    """
    rng = np.random.default_rng(seed)
    clean = list(crops.values())
    noisy = [c + np.float32(sigma / 255) * rng.standard_normal(c.shape, dtype=np.float32) for c in clean]
    full = [network(x, manifest.iterations) for x in noisy]
    halves: list[list[NDArray[np.float32]]] = [[] for _ in clean]
    for n in range(1, manifest.iterations + 1):
        with half(n) as engine:
            for pictures, x in zip(halves, noisy, strict=True):
                pictures.append(restore_batch(engine, x))
    return HalfReport(
        model=manifest.name,
        checkpoint_sha256=checkpoint_sha256,
        provenance=manifest.provenance,
        folder=folder,
        sigma=sigma,
        seed=seed,
        pixels=clean[0].shape[-1],
        float32_islands=manifest.float32_islands,
        half_share=manifest.half_share,
        crops=tuple(
            Crop(name, _scores(f, c), _scores(h, c), tuple(psnr(a, b) for a, b in zip(h, f, strict=True)))
            for name, c, f, h in zip(crops, clean, full, halves, strict=True)
        ),
        environment=read_environment(),
    )


def middles(folder: Path, count: int, pixels: int) -> dict[str, NDArray[np.float32]]:
    """Square crops [1, 3, pixels, pixels] from the middle of `count` pictures, spread evenly over the names.

    Raises:
        UsageError: the folder holds fewer pictures, or one is smaller than the crop.
        ImageError: a picture that cannot be read.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if len(paths) < count:
        raise UsageError(f"{folder} holds {len(paths)} pictures, {count} are needed.", "Give another folder.")
    crops = {}
    for path in (paths[i * len(paths) // count] for i in range(count)):
        picture = read_picture(path).pixels
        top, left = ((side - pixels) // 2 for side in picture.shape[:2])
        if min(top, left) < 0:
            raise UsageError(f"{path.name} is smaller than {pixels}x{pixels}.", "Ask for a smaller crop.")
        crop = picture[top : top + pixels, left : left + pixels].transpose(2, 0, 1)[None]
        crops[path.name] = np.ascontiguousarray(crop)
    return crops


def _scores(pictures: Sequence[NDArray[np.float32]], clean: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(psnr(picture.clip(0, 1), clean) for picture in pictures)
