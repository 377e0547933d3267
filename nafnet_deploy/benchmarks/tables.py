"""The second table of a benchmark: what an engine costs besides its time per picture."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table

from nafnet_deploy.benchmarks.report import BenchmarkReport, BenchmarkRow
from nafnet_deploy.benchmarks.statistics import speed_ratio

WORTH = 1.05
"""A form is recommended for its speed alone when it is this many times as fast; below that the difference is noise."""


def cost_table(report: BenchmarkReport) -> Table:
    """Loading, first run, start-up and memory at the largest N; columns of a device only where one was measured."""
    largest = max((row.iteration for row in report.rows), default=0)
    rows = [row for row in report.rows if row.iteration == largest]
    device = any(row.device is not None for row in rows)
    table = Table(
        title=f"What else it costs at N = {largest}",
        caption="load: opening; first: the first turn, compiling included where the engine compiles then; start-up: "
        "a fresh process to its first picture; peak: that process's largest resident memory",
    )
    table.add_column("Engine")
    headings = ["Load ms", "First ms", "Build ms", "Start-up ms", "Peak MiB"]
    if device:
        headings += ["Device MiB", "Upload ms", "Kernels ms", "CUDA graph ms", "Download ms"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        process, times = row.process, row.device
        cells: list[float | None] = [row.load_ms, row.first_ms, row.build_ms]
        cells += [process.startup_ms, process.peak_mib] if process else [None, None]
        if device:
            cells.append(process.device_mib if process else None)
            cells += [times.upload_ms, times.compute_ms, times.graph_ms, times.download_ms] if times else [None] * 4
        table.add_row(row.label, *("-" if value is None else f"{value:.1f}" for value in cells))
    return table


def advice(report: BenchmarkReport, unrolled: str, split: str) -> str:
    """Which form of export to take, from the rounds in which both were timed; empty where they were not.

    Args:
        report: a benchmark.
        unrolled: label of the engine with the recurrence unrolled.
        split: label of the same engine with head, step and tail.
    """
    pairs: dict[int, dict[str, BenchmarkRow]] = {}
    for row in report.rows:
        pairs.setdefault(row.iteration, {})[row.label] = row
    both = [(n, rows[unrolled], rows[split]) for n, rows in pairs.items() if {unrolled, split} <= rows.keys()]
    if not both or not all(row.agreement.passed for _, *rows in both for row in rows):
        return ""
    ratios = [(n, speed_ratio(whole.rounds_ms, parts.rounds_ms).median) for n, whole, parts in both]
    words = ", ".join(f"{1 / ratio:.2f} at N = {n}" for n, ratio in ratios)
    mean = sum(ratio for _, ratio in ratios) / len(ratios)
    if mean > WORTH:
        choice = "Split is faster here, and it may stop early"
    elif mean < 1 / WORTH:
        choice = "Unrolled is faster where N is fixed; split where N varies from picture to picture"
    else:
        choice = "They cost the same: take split where N varies from picture to picture, unrolled for one file"
    return f"Time of split over unrolled: {words}. {choice}."


def against(report: BenchmarkReport, peer: str, labels: Collection[str]) -> str:
    """How many times as fast as a peer other than the baseline engines of the same arithmetic are; empty without it.

    Args:
        report: a benchmark; nothing is said of rows that disagree with its baseline.
        peer: label of the peer.
        labels: of the engines to compare with it.
    """
    lines = []
    for base in report.rows:
        if base.label != peer or not base.agreement.passed:
            continue
        ratios = {
            row.label: speed_ratio(base.rounds_ms, row.rounds_ms)
            for row in report.rows
            if (row.iteration, row.precision) == (base.iteration, base.precision)
            and row.label in labels
            and row.agreement.passed
        }
        words = "; ".join(f"{label} {r.median:.2f} ({r.low:.2f} to {r.high:.2f})" for label, r in ratios.items())
        if words:
            lines.append(f"Times as fast as {peer} at N = {base.iteration} (95 % interval): {words}.")
    return "\n".join(lines)
