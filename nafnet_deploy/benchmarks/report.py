"""The benchmark report, its tables, and the claimed figures it stands beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table

from nafnet_deploy.benchmarks.statistics import Ratio, Summary
from nafnet_deploy.environment import Environment
from nafnet_deploy.parity.compare import Difference
from nafnet_deploy.parity.report import check_schema, read_report, report_json, size
from nafnet_deploy.parity.tolerance import Limits

SCHEMA = 2


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """One engine at one iteration."""

    iteration: int
    """Reasoning iterations n."""
    label: str
    """What the benchmark calls the engine."""
    engine: str
    """Engine and device as they really were."""
    baseline: bool
    """Whether the others are compared with this one."""
    agreement: Difference
    """The timed picture against the baseline's."""
    time: Summary
    """One forward pass, host array to host array."""
    fps: float
    """Pictures per second: 1000 / median ms x batch."""
    speedup: Ratio | None
    """Times faster than the baseline; None for the baseline itself and where the pictures disagree."""
    rounds_ms: tuple[float, ...]
    """Every measured time (ms), in round order: the statistics can be computed again."""


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """Truthy when all engines gave the same pictures; without that no speed-up is quoted."""

    model: str
    """Name of the network."""
    precision: str
    """Arithmetic of the graphs."""
    shape: tuple[int, ...]
    """Input shape [B, C, H, W] (pixels)."""
    warmup: int
    """Untimed rounds before the timed ones."""
    pause: float
    """Rest before each turn (seconds)."""
    limits: Limits
    """When pictures count as the same."""
    rows: tuple[BenchmarkRow, ...]
    """One per iteration and engine, the baseline first."""
    environment: Environment
    """The machine and its packages."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "benchmark report")

    def __bool__(self) -> bool:
        return bool(self.rows) and all(row.agreement.passed for row in self.rows)

    def headline(self, iteration: int) -> str:
        """The speed-ups at an iteration in one line, or why there are none."""
        rows = [row for row in self.rows if row.iteration == iteration]
        wrong = [f"{row.label} ({row.agreement.fault})" for row in rows if not row.agreement.passed]
        if wrong:
            return f"No headline at N = {iteration}: the outputs disagree: {'; '.join(wrong)}."
        baseline = "".join(row.label for row in rows if row.baseline)
        speeds = [
            f"{row.label} is {row.speedup.median:.2f} times as fast as {baseline} "
            f"(quartiles {row.speedup.q1:.2f} to {row.speedup.q3:.2f}, {row.time.n} rounds)"
            for row in rows
            if row.speedup is not None
        ]
        if not speeds:
            return f"No headline at N = {iteration}: nothing to compare."
        return f"N = {iteration}, {size(self.shape)} {self.precision}: {'; '.join(speeds)}."

    def to_json(self) -> str:
        """The report as JSON text; `BenchmarkReport.from_json` reads it back equal."""
        return report_json(self, bool(self))

    @classmethod
    def from_json(cls, text: str, where: str = "benchmark report") -> BenchmarkReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        return read_report(cls, text, where)

    def table(self) -> Table:
        """The rows as a table for the terminal."""
        table = Table(title=f"{self.model}, {size(self.shape)}, {self.precision}", caption=machine(self.environment))
        headings = ("N", "Engine", "Median ms", "p90 ms", "Min ms", "FPS", "Speed-up (quartiles)", "Outputs")
        for heading in headings:
            table.add_column(heading, justify="left" if heading in ("Engine", "Outputs") else "right")
        for row in self.rows:
            speedup = "baseline" if row.baseline else "-"
            if row.speedup is not None:
                speedup = f"{row.speedup.median:.2f} ({row.speedup.q1:.2f}-{row.speedup.q3:.2f})"
            agreed = "agree" if not row.baseline else ""
            table.add_row(
                str(row.iteration),
                row.label,
                *(f"{ms:.1f}" for ms in (row.time.median_ms, row.time.p90_ms, row.time.min_ms)),
                f"{row.fps:.1f}",
                speedup,
                agreed if row.agreement.passed else f"[red]{row.agreement.fault}[/]",
            )
        return table


@dataclasses.dataclass(frozen=True)
class Claim:
    """A figure from the NAFNet-RR write-up: RTX 3090, 256x256. Never verified by us."""

    iteration: int
    time_ms: float
    fps: float
    gain_db: float
    """PSNR over one iteration (dB)."""


CLAIMED = (
    Claim(1, 25.0, 40.0, 0.0),
    Claim(2, 32.0, 31.0, 0.9),
    Claim(3, 38.0, 26.0, 1.4),
    Claim(4, 45.0, 22.0, 1.6),
    Claim(5, 52.0, 19.0, 1.7),
)


def claimed_table(report: BenchmarkReport, psnr: Sequence[float] = ()) -> Table:
    """The claimed figures with ours beside them; an engine whose pictures disagree shows no time.

    Args:
        report: our measurement.
        psnr: our measured PSNR (dB) after iterations 1, 2, ...; the gain column is blank where it is missing.
    """
    labels = list(dict.fromkeys(row.label for row in report.rows))
    table = Table(
        title=f"Claimed (RTX 3090, 256x256, unverified) beside ours ({report.model}, {size(report.shape)})",
        caption=machine(report.environment),
    )
    for heading in ("N", "Claimed time", "Claimed FPS", "Claimed gain"):
        table.add_column(heading, justify="right")
    for label in labels:
        table.add_column(f"{label} time", justify="right")
        table.add_column(f"{label} FPS", justify="right")
    table.add_column("Measured gain", justify="right")
    found = {(row.iteration, row.label): row for row in report.rows}
    for claim in CLAIMED:
        ours = [cell for label in labels for cell in _time_and_fps(found.get((claim.iteration, label)))]
        gain = _gain(claim.iteration, psnr[claim.iteration - 1] - psnr[0]) if claim.iteration <= len(psnr) else "-"
        table.add_row(
            str(claim.iteration),
            f"{claim.time_ms:.0f} ms",
            f"{claim.fps:.0f}",
            _gain(claim.iteration, claim.gain_db),
            *ours,
            gain,
        )
    return table


def machine(environment: Environment) -> str:
    """One line: processor, cores, threads and load."""
    threads = f"{environment.threads} threads" if environment.threads else "default threads"
    load = f", load {environment.load_average[0]:.1f}" if environment.load_average else ""
    return f"{environment.cpu}, {environment.cores} cores, {threads}{load}"


def _time_and_fps(row: BenchmarkRow | None) -> tuple[str, str]:
    if row is None:
        return "-", "-"
    if not row.agreement.passed:
        return "disagrees", "-"
    return f"{row.time.median_ms:.1f} ms", f"{row.fps:.1f}"


def _gain(iteration: int, decibels: float) -> str:
    return "baseline" if iteration == 1 else f"{decibels:+.2f} dB"
