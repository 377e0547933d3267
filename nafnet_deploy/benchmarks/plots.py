"""Pictures of benchmark reports. Needs matplotlib, which the extra `plots` brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nafnet_deploy.benchmarks.cost import FRAME_MS
from nafnet_deploy.benchmarks.report import BenchmarkReport, machine
from nafnet_deploy.benchmarks.scale import ScaleReport
from nafnet_deploy.errors import ConfigError, MissingDependency
from nafnet_deploy.parity.report import size

DPI = 120
SUFFIXES = (".png", ".svg", ".pdf")


def plot_cost(reports: Sequence[BenchmarkReport], psnr: Mapping[str, Sequence[float]], path: Path) -> None:
    """PSNR against milliseconds, a line per network and engine with a point per N; time against N beside it.

    Engines whose pictures disagree are left out. Networks without a known PSNR are in the right part alone.

    Args:
        reports: benchmarks over several N; the networks may differ, the shape may not.
        psnr: network -> PSNR (dB) after N = 1, 2, ...
        path: `.png`, `.svg` or `.pdf`.

    Raises:
        MissingDependency: matplotlib is not installed.
        ConfigError: nothing to draw, reports of different shapes or machines, or another suffix.
    """
    if not reports:
        raise ConfigError("there is no report to draw.", "Measure with: nafdeploy bench --json")
    if len({(r.shape, r.scope, r.environment.cpu, r.environment.cores) for r in reports}) > 1:
        raise ConfigError("the reports are of different shapes, scopes or machines.", "Draw them apart.")
    known = any(report.model in psnr for report in reports)
    figure, axes = _figure(2 if known else 1, path)
    for report in reports:
        gains = psnr.get(report.model, ())
        for label in dict.fromkeys(row.label for row in report.rows):
            rows = [row for row in report.rows if row.label == label and row.agreement.passed]
            if not rows:
                continue
            ns, times = [row.iteration for row in rows], [row.time.median_ms for row in rows]
            name = f"{report.model}, {label}" if len(reports) > 1 else label
            axes[-1].plot(ns, times, marker="o", label=name)
            points = [(ms, gains[n - 1], n) for ms, n in zip(times, ns, strict=True) if n <= len(gains)]
            if points:
                axes[0].plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
                for ms, decibels, n in points:
                    axes[0].annotate(str(n), (ms, decibels), textcoords="offset points", xytext=(0, 6), ha="center")
    if known:
        axes[0].set(xlabel="median time (ms)", ylabel="PSNR (dB)", title="Quality against time, by N")
    axes[-1].axhline(FRAME_MS, color="grey", linestyle=":", label=f"{FRAME_MS} ms")
    axes[-1].set(xlabel="iterations N", ylabel="median time (ms)", title="Time against N")
    axes[-1].set_ylim(0, 1.35 * axes[-1].get_ylim()[1])  # room for the legend: the lines rise to the right
    axes[-1].legend(fontsize="small", loc="upper left")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    first = reports[0]
    verdicts = ", ".join(dict.fromkeys(report.verdict for report in reports))
    _save(figure, axes, path, f"{size(first.shape)}, {first.scope}; {machine(first.environment)}; machine {verdicts}")


def plot_scale(report: ScaleReport, path: Path) -> None:
    """Time of a megapixel and peak memory against megapixels, and pictures per second against batch and threads.

    Raises:
        MissingDependency: matplotlib is not installed.
        ConfigError: nothing ran, or another suffix.
    """
    if not report:
        raise ConfigError("no point of the report ran.", "Measure again with fewer megapixels.")
    figure, axes = _figure(4, path)
    for label in report.labels:
        sizes = report.series("megapixels", label)
        if sizes:
            rates = [p.median_ms / p.megapixels for p in sizes]
            axes[0].semilogx([p.megapixels for p in sizes], rates, marker="o", label=label)
            memory = [(p.megapixels, p.peak_mib) for p in sizes if p.peak_mib is not None]
            axes[1].loglog([m for m, _ in memory], [p for _, p in memory], marker="o", label=label)
        for axis, series in ((axes[2], "batch"), (axes[3], "threads")):
            found = report.series(series, label)
            across = [p.shape[0] if series == "batch" else p.threads for p in found]
            axis.plot(across, [1000 * p.shape[0] / p.median_ms for p in found], marker="o", label=label)
    axes[0].set(xlabel="megapixels", ylabel="ms per megapixel", title="Time: flat is linear", ylim=(0, None))
    axes[1].set(xlabel="megapixels", ylabel="peak memory of the process (MiB)", title="Memory against size")
    for axis, word in ((axes[2], "batch"), (axes[3], "threads")):
        axis.set(xlabel=word, ylabel="pictures per second", title=f"Rate against {word}", ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
    verdict = "unknown" if report.noise is None else report.noise.verdict
    _save(
        figure, axes, path, f"{report.model}, N = {report.iteration}; {machine(report.environment)}; machine {verdict}"
    )


def _figure(count: int, path: Path) -> tuple[Any, list[Any]]:
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} is not the name of a picture.", f"Use {', '.join(SUFFIXES)}.")
    try:
        from matplotlib.figure import Figure  # without pyplot: no display, no state of its own
    except ImportError as error:
        raise MissingDependency(error.name or "matplotlib", "plots", "to draw a benchmark") from error
    rows = 2 if count > 2 else 1
    columns = -(-count // rows)
    figure = Figure(figsize=(6 * columns, 4.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.ravel())


def _save(figure: Any, axes: Sequence[Any], path: Path, caption: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in axes:
        axis.grid(True, alpha=0.3)
        axis.margins(y=0.12)
        for side in (axis.xaxis, axis.yaxis):
            if side.get_scale() == "log":  # plain numbers; 2 x 10^2 between them would overlap
                side.set_major_locator(LogLocator(subs=(1, 2, 5)))
                side.set_major_formatter("{x:g}")
                side.set_minor_formatter(NullFormatter())
        if axis.get_legend() is None and axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.supxlabel(caption, fontsize="small")
    scratch = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        figure.savefig(scratch, dpi=DPI)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", "Choose another place.") from error
