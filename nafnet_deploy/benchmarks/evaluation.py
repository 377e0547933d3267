"""How good the restored pictures are: PSNR over a folder of clean pictures to which noise is added."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from nafnet_deploy.config import plain, read_table
from nafnet_deploy.environment import Environment, read_environment
from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import PICTURE_SUFFIXES, read_picture
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.report import check_schema
from nafnet_deploy.runtime.restorer import Restorer

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class PictureScore:
    """One picture."""

    name: str
    """File name."""
    noisy: float
    """PSNR of the degraded picture, neither clipped nor rounded (dB)."""
    restored: tuple[float, ...]
    """PSNR of the restored picture, clipped to [0, 1] and not rounded, per iteration count (dB)."""


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """PSNR of every picture for every iteration count, averaged per picture over RGB."""

    model: str
    """Name in the manifest."""
    graph_sha256: str
    """Hash of the graph that was evaluated."""
    folder: str
    """Name of the folder of clean pictures."""
    sigma: float
    """Standard deviation of the Gaussian noise, in steps of 255."""
    seed: int
    """Seed of the one generator that draws the noise of all pictures, in name order."""
    iterations: tuple[int, ...]
    """The iteration counts N, in the order of `restored`."""
    pictures: tuple[PictureScore, ...]
    """In name order."""
    environment: Environment
    """The machine and its packages."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "evaluation report")

    @property
    def noisy(self) -> float:
        """Mean PSNR of the degraded pictures (dB)."""
        return float(np.mean([p.noisy for p in self.pictures]))

    @property
    def restored(self) -> tuple[float, ...]:
        """Mean PSNR of the restored pictures per iteration count (dB)."""
        return tuple(float(v) for v in np.mean([p.restored for p in self.pictures], axis=0))

    def to_json(self) -> str:
        """The report as JSON text; `from_json` reads it back equal."""
        return json.dumps(plain(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "evaluation report") -> EvaluationReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        try:
            table = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{where} is not JSON: {error}.", "Make the report again.") from error
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where} is not a report.", "Make the report again.")
        return read_table(cls, table, where)

    def table(self) -> Table:
        """Mean PSNR per iteration count."""
        title = f"{self.model} on {self.folder}: {len(self.pictures)} pictures, sigma {self.sigma:g}"
        table = Table(title=title, caption=f"noisy {self.noisy:.2f} dB; PSNR per picture over RGB, averaged")
        for heading in ("N", "PSNR (dB)", "Gain over the first"):
            table.add_column(heading, justify="right")
        for n, value in zip(self.iterations, self.restored, strict=True):
            table.add_row(str(n), f"{value:.3f}", f"{value - self.restored[0]:+.3f}")
        return table


def evaluate(
    restorers: Mapping[int, Restorer],
    manifest: ModelManifest,
    folder: Path,
    sigma: float,
    seed: int = 0,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationReport:
    """Adds Gaussian noise to the clean pictures of a folder and restores them with every restorer.

    Args:
        restorers: iteration count N -> restorer.
        manifest: contract of their graph.
        folder: clean pictures, taken in name order.
        sigma: noise level in steps of 255; the noisy picture is neither clipped nor rounded.
        seed: of the noise.
        on_picture: told (pictures done, pictures in all).

    Raises:
        UsageError: no pictures, a negative sigma or a picture that cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Give a folder of clean pictures.")
    if sigma < 0:
        raise ConfigError(f"--sigma {sigma:g} is impossible.", "Use 0 or more.")
    paths: Sequence[Path] = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise UsageError(f"{folder} holds no pictures.", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    rng = np.random.default_rng(seed)
    scores = []
    for done, path in enumerate(paths, 1):
        try:
            clean = read_picture(path).pixels
        except ImageError as error:  # leaving one out would change the mean without a trace
            raise UsageError(f"the evaluation stopped: {error.message}", "Mend or remove that file.") from error
        noisy = clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32)
        restored = tuple(psnr(restore(noisy), clean) for restore in restorers.values())
        scores.append(PictureScore(path.name, psnr(noisy, clean), restored))
        on_picture(done, len(paths))
    return EvaluationReport(
        model=manifest.name,
        graph_sha256=manifest.sha256.get(".onnx", ""),
        folder=folder.resolve().name,
        sigma=sigma,
        seed=seed,
        iterations=tuple(restorers),
        pictures=tuple(scores),
        environment=read_environment(),
    )
