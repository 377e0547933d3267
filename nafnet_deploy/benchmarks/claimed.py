"""The figures claimed for NAFNet-RR, and ours beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table

from nafnet_deploy.benchmarks.report import BenchmarkReport, BenchmarkRow, machine
from nafnet_deploy.parity.report import size


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
ENGINES = 4
"""Columns of ours."""


def claimed_table(report: BenchmarkReport, psnr: Sequence[float] = ()) -> Table:
    """The claimed figures with ours beside them; an engine whose pictures disagree shows no time.

    Args:
        report: our measurement.
        psnr: our measured PSNR (dB) after iterations 1, 2, ...; the gain column is blank where it is missing.
    """
    labels = _columns(report)
    table = Table(
        title=f"Claimed (RTX 3090, 256x256, unverified) beside ours ({report.model}, {size(report.shape)})",
        caption=machine(report.environment),
    )
    for heading in ("N", "Claimed time", "Claimed FPS", "Claimed gain"):
        table.add_column(heading, justify="right")
    for label in labels:
        table.add_column(f"{label}: time (FPS)", justify="right")
    table.add_column("Measured gain", justify="right")
    found = {(row.iteration, row.label): row for row in report.rows}
    for claim in CLAIMED:
        ours = [_time_and_fps(found.get((claim.iteration, label))) for label in labels]
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


def _columns(report: BenchmarkReport) -> list[str]:
    """The baseline and the fastest others at the largest N; more would not fit a terminal."""
    largest = max((row.iteration for row in report.rows), default=0)
    rows = [row for row in report.rows if row.iteration == largest]
    others = sorted((row for row in rows if not row.baseline), key=lambda row: row.time.median_ms)
    return [row.label for row in (*(row for row in rows if row.baseline), *others[: ENGINES - 1])]


def _time_and_fps(row: BenchmarkRow | None) -> str:
    if row is None:
        return "-"
    return f"{row.time.median_ms:.1f} ms ({row.fps:.1f})" if row.agreement.passed else "disagrees"


def _gain(iteration: int, decibels: float) -> str:
    return "baseline" if iteration == 1 else f"{decibels:+.2f} dB"
