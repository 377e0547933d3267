"""The evaluation report: the quality of every picture before and after restoration, as JSON and as tables."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Self

from rich.markup import escape
from rich.table import Table

from nafnet_deploy.environment import Environment
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.parity.report import check_schema
from nafnet_deploy.tables import plain, read_table

SCHEMA = 2


@dataclasses.dataclass(frozen=True)
class Quality:
    """How near a picture is to the clean one; see `metrics` for the definitions. Data range 1."""

    psnr: float | None
    """Over all values of R, G and B (dB); None when the pictures are equal."""
    ssim: float
    """Averaged over R, G and B."""
    psnr_y: float | None
    """On the Y channel of BT.601 (dB); None when equal there."""
    ssim_y: float
    """On the Y channel of BT.601."""

    @classmethod
    def of(cls, psnr: float, ssim: float, psnr_y: float, ssim_y: float) -> Self:
        """From measured values; JSON has no infinity."""
        return cls(None if psnr == math.inf else psnr, ssim, None if psnr_y == math.inf else psnr_y, ssim_y)

    @classmethod
    def mean(cls, values: Sequence[Quality]) -> Self:
        """The mean of each figure over pictures; a PSNR is None as soon as one of them is."""
        return cls.of(
            *(
                math.fsum(math.inf if (v := getattr(q, field.name)) is None else v for q in values) / len(values)
                for field in dataclasses.fields(cls)
            )
        )


@dataclasses.dataclass(frozen=True)
class PictureScore:
    """One picture."""

    name: str
    """File name of the degraded picture."""
    input: Quality
    """Of the degraded picture, as the network was given it; where that enlarges, enlarged bicubically."""
    restored: tuple[Quality, ...]
    """Of the restored picture, clipped to [0, 1] and not rounded, per iteration count."""


@dataclasses.dataclass(frozen=True)
class Skipped:
    """One picture that could not be evaluated."""

    name: str
    """File name."""
    reason: str
    """What was wrong, in words."""


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """PSNR and SSIM of every picture for every iteration count."""

    model: str
    """Name in the manifest."""
    graph_sha256: str
    """Hash of the graph that was evaluated."""
    engine: str
    """Engine and device as they really were."""
    clean: str
    """Name of the folder of clean pictures."""
    degraded: str
    """Name of the folder of degraded pictures; empty when noise was added or pictures were shrunk."""
    sigma: float | None
    """Standard deviation of the Gaussian noise, in steps of 255; None for pairs and shrunk pictures."""
    seed: int
    """Seed of the one generator that draws the noise of all pictures, in name order; without meaning for pairs."""
    iterations: tuple[int, ...]
    """The iteration counts N, in the order of `restored`."""
    pictures: tuple[PictureScore, ...]
    """In name order."""
    skipped: tuple[Skipped, ...]
    """The pictures that are in no mean, in name order."""
    environment: Environment
    """The machine and its packages."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "evaluation report")

    @property
    def input(self) -> Quality:
        """Mean of the degraded pictures."""
        return Quality.mean([p.input for p in self.pictures])

    @property
    def restored(self) -> tuple[Quality, ...]:
        """Mean of the restored pictures per iteration count."""
        return tuple(Quality.mean([p.restored[i] for p in self.pictures]) for i in range(len(self.iterations)))

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
        if isinstance(schema := table.get("schema"), int):  # before the keys: an older report has others
            check_schema(schema, SCHEMA, "evaluation report")
        return read_table(cls, table, where)

    def table(self) -> Table:
        """The means: the input first, then every iteration count."""
        table = Table(
            title=escape(f"{self.model} on {self._data()}, {self.engine}"),
            caption=f"means over the pictures; RGB, and Y of BT.601{self._equal()}",
        )
        for heading in (
            "",
            "PSNR (dB)",
            "SSIM",
            "PSNR Y (dB)",
            "SSIM Y",
            "Gain over input (dB)",
            "Gain over first (dB)",
        ):
            table.add_column(heading, justify="right" if heading else "left")
        before, results = self.input, self.restored
        table.add_row("input", *_cells(before), "", "")
        for n, after in zip(self.iterations, results, strict=True):
            gains = (_gain(first.psnr, after.psnr) for first in (before, results[0]))
            table.add_row(f"N = {n}", *_cells(after), *gains)
        return table

    def picture_table(self) -> Table:
        """PSNR and SSIM over RGB of every picture."""
        table = Table(title=escape(f"{self.model} on {self._data()}"), caption="PSNR (dB) and SSIM over RGB")
        table.add_column("Picture")
        for heading in ("input", *(f"N = {n}" for n in self.iterations)):
            table.add_column(heading, justify="right")
        for picture in self.pictures:
            cells = (_cells(quality) for quality in (picture.input, *picture.restored))
            table.add_row(escape(picture.name), *(f"{psnr}  {ssim}" for psnr, ssim, *_ in cells))
        return table

    def _equal(self) -> str:
        """How many pictures make the mean of their row infinite, in words; empty where none does."""
        columns = [("input", [p.input for p in self.pictures])]
        columns += [(f"N = {n}", [p.restored[i] for p in self.pictures]) for i, n in enumerate(self.iterations)]
        counts = {name: sum(quality.psnr is None for quality in column) for name, column in columns}
        words = ", ".join(f"{count} of {len(self.pictures)} at {name}" for name, count in counts.items() if count)
        return f"\ninf: pictures equal to the clean ones, {words}" if words else ""

    def _data(self) -> str:
        degraded = f"degraded: {self.degraded}" if self.degraded else "shrunk"
        damage = f"sigma {self.sigma:g}" if self.sigma is not None else degraded
        return f"{self.clean}: {len(self.pictures)} pictures, {damage}"


def _cells(quality: Quality) -> tuple[str, str, str, str]:
    return _decibels(quality.psnr), f"{quality.ssim:.4f}", _decibels(quality.psnr_y), f"{quality.ssim_y:.4f}"


def _decibels(value: float | None) -> str:
    return f"{math.inf if value is None else value:.3f}"


def _gain(before: float | None, after: float | None) -> str:
    gain = (math.inf if after is None else after) - (math.inf if before is None else before)
    return "" if math.isnan(gain) else f"{gain:+.3f}"
