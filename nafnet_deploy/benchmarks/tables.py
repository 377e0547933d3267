"""The second table of a benchmark: what an engine costs besides its time per picture."""

from __future__ import annotations

from rich.table import Table

from nafnet_deploy.benchmarks.report import BenchmarkReport


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
