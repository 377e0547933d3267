"""How time and memory grow with the picture, the batch and the threads: every point in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from rich.table import Table

from nafnet_deploy.benchmarks.noise import Noise, NoiseMeter
from nafnet_deploy.benchmarks.process_cost import ProcessCost
from nafnet_deploy.environment import Environment, read_environment
from nafnet_deploy.errors import EngineError
from nafnet_deploy.parity.report import check_schema, read_report, report_json, size

SCHEMA = 1
BEND = 0.15
"""A step bends when it makes a megapixel this much dearer or cheaper."""
SHARE = 0.9
"""Of the free memory that a point may be expected to take."""
SIDE = 256
"""Height and width for batches and threads (pixels)."""

Shape = tuple[int, int, int, int]
Measure = Callable[[str, Shape, int | None], ProcessCost]
"""(engine, shape, threads) -> what a process of its own took."""


@dataclasses.dataclass(frozen=True)
class ScalePoint:
    """One engine at one shape and number of threads."""

    series: str
    """What grows: `megapixels`, `batch` or `threads`."""
    label: str
    """What the benchmark calls the engine."""
    shape: Shape
    """[B, C, H, W] (pixels)."""
    threads: int
    """CPU threads; 0 is the engine's own choice."""
    runs_ms: tuple[float, ...]
    """Forward passes after the first (ms); empty when it did not run."""
    peak_mib: float | None
    """Largest resident memory of the process (MiB)."""
    why_not: str = ""
    """Why it did not run; empty when it did."""

    @property
    def megapixels(self) -> float:
        """Pixels of the batch (10^6)."""
        return self.shape[0] * self.shape[2] * self.shape[3] / 1e6

    @property
    def median_ms(self) -> float:
        """Median pass; NaN when it did not run."""
        return statistics.median(self.runs_ms) if self.runs_ms else math.nan


@dataclasses.dataclass(frozen=True)
class ScaleReport:
    """Truthy when something ran."""

    model: str
    """Name of the network."""
    precision: str
    """Arithmetic of the graphs."""
    iteration: int
    """Reasoning iterations N."""
    points: tuple[ScalePoint, ...]
    """By series, then in the order they ran."""
    environment: Environment
    """The machine and its packages."""
    noise: Noise | None = None
    """How quiet the machine was."""
    missing: int = 0
    """Points that were not reached when someone interrupted the run."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "scale report")

    def __bool__(self) -> bool:
        return any(point.runs_ms for point in self.points)

    def series(self, name: str, label: str) -> list[ScalePoint]:
        """The points of one series and engine that ran."""
        return [p for p in self.points if p.series == name and p.label == label and p.runs_ms]

    @property
    def labels(self) -> list[str]:
        """The engines, each once."""
        return list(dict.fromkeys(point.label for point in self.points))

    def growth(self, label: str) -> float | None:
        """Exponent e of time = k x megapixels^e, least squares in logarithms; 1 is linear, None below two sizes."""
        points = self.series("megapixels", label)
        if len({p.megapixels for p in points}) < 2:
            return None
        fit = statistics.linear_regression(
            [math.log(p.megapixels) for p in points], [math.log(p.median_ms) for p in points]
        )
        return fit.slope

    def repeat(self, label: str) -> float | None:
        """By how much one point differs when it is measured again: the series meet at 256x256. None if they do not.

        Points are minutes apart and not interleaved: no difference below this one says anything.
        """
        found: dict[tuple[Shape, int], list[float]] = {}
        for p in self.points:
            if p.label == label and p.runs_ms:
                found.setdefault((p.shape, p.threads or self.environment.cores), []).append(p.median_ms)
        return max((max(times) / min(times) - 1 for times in found.values() if len(times) > 1), default=None)

    def bends(self, label: str) -> list[str]:
        """Steps at which a megapixel becomes dearer or cheaper by more than `BEND` and `repeat`, in words."""
        found, points = [], self.series("megapixels", label)
        for small, large in itertools.pairwise(points):
            change = (large.median_ms / large.megapixels) / (small.median_ms / small.megapixels) - 1
            if abs(change) > max(BEND, self.repeat(label) or 0.0):
                found.append(f"{change:+.0%} per megapixel from {small.megapixels:.2f} to {large.megapixels:.2f}")
        return found

    def words(self, label: str) -> str:
        """Growth and bends of an engine in one line."""
        growth, bends, repeat = self.growth(label), self.bends(label), self.repeat(label)
        if growth is None:
            return f"{label}: too few sizes ran to say how time grows."
        least = f"{max(BEND, repeat or 0.0):.0%}"
        again = "" if repeat is None else f" (one point measured again differs by {repeat:.0%})"
        return (
            f"{label}: time grows as megapixels^{growth:.2f}; "
            f"{'bends: ' + ', '.join(bends) if bends else f'no step changes a megapixel by more than {least}'}{again}."
        )

    def to_json(self) -> str:
        """The report as JSON text; `ScaleReport.from_json` reads it back equal."""
        return report_json(self, bool(self))

    @classmethod
    def from_json(cls, text: str, where: str = "scale report") -> ScaleReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        return read_report(cls, text, where)

    def table(self) -> Table:
        """The points as a table for the terminal."""
        table = Table(
            title=f"{self.model} at N = {self.iteration}: time and memory as it grows",
            caption="median of the passes after the first, every point in a fresh process; peak: its largest memory",
        )
        left = ("Grows", "Engine")
        for heading in (*left, "Shape", "Threads", "Megapixels", "Passes", "Median ms", "ms / MP", "Peak MiB"):
            table.add_column(heading, justify="left" if heading in left else "right")
        for p in self.points:
            threads = str(p.threads) if p.threads else "all"
            head = (p.series, p.label, size(p.shape), threads, f"{p.megapixels:.2f}")
            if not p.runs_ms:
                table.add_row(*head, "-", p.why_not, "", "")
                continue
            peak = "-" if p.peak_mib is None else f"{p.peak_mib:.0f}"
            table.add_row(*head, str(len(p.runs_ms)), f"{p.median_ms:.1f}", f"{p.median_ms / p.megapixels:.0f}", peak)
        return table


def run_scale(
    labels: Sequence[str],
    measure: Measure,
    model: str,
    precision: str,
    iteration: int,
    multiple: int,
    channels: int,
    megapixels: Sequence[float],
    batches: Sequence[int],
    cores: int,
    threads: int | None = None,
    free_mib: Callable[[], float | None] = lambda: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScaleReport:
    """Measures every engine at every size, batch and number of threads.

    A size that is expected to need more memory than is free is left out and says so; what is expected grows with the
    pixels from the largest size that ran. The largest take minutes: Ctrl-C ends the run with the points that are
    finished, and the report says how many are missing.

    Args:
        labels: engines by label.
        measure: runs one of them in a process of its own.
        model: name of the network.
        precision: arithmetic of the graphs.
        iteration: reasoning iterations N.
        multiple: of which heights and widths must be multiples (pixels).
        channels: C of the input.
        megapixels: sizes of one square picture.
        batches: pictures of 256x256.
        cores: threads 1 to this many at 256x256, doubling.
        threads: of batches and sizes; None leaves it to the engine.
        free_mib: free memory now (MiB); None when unknown.
        on_progress: told (points done, points in all).
    """
    small = -(-SIDE // multiple) * multiple
    plan: list[tuple[str, Shape, int | None]]
    plan = [("batch", (n, channels, small, small), threads) for n in batches]
    counts = sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores})
    plan += [("threads", (1, channels, small, small), n) for n in counts]
    for value in megapixels:  # last: who interrupts a run has the cheap points already
        side = max(round(math.sqrt(value * 1e6) / multiple) * multiple, multiple)
        plan.append(("megapixels", (1, channels, side, side), threads))
    meter, points, total = NoiseMeter(), list[ScalePoint](), len(plan) * len(labels)
    with contextlib.suppress(KeyboardInterrupt):
        for (series, shape, count), label in itertools.product(plan, labels):
            why_not = _too_large(points, series, label, shape, free_mib())
            cost = None
            if not why_not:
                meter.read()
                try:
                    cost = measure(label, shape, count)
                except EngineError as error:
                    why_not = error.message
            runs, peak = (cost.runs_ms, cost.peak_mib) if cost else ((), None)
            points.append(ScalePoint(series, label, shape, count or 0, runs, peak, why_not))
            if on_progress is not None:
                on_progress(len(points), total)
    environment = read_environment(threads or 0)
    return ScaleReport(model, precision, iteration, tuple(points), environment, meter.result(), total - len(points))


def _too_large(points: Sequence[ScalePoint], series: str, label: str, shape: Shape, free: float | None) -> str:
    ran = [p for p in points if p.series == series and p.label == label and p.peak_mib is not None]
    if free is None or not ran:
        return ""
    largest = max(ran, key=lambda p: p.megapixels)
    assert largest.peak_mib is not None
    pixels = shape[0] * shape[2] * shape[3] / 1e6
    expected = largest.peak_mib * pixels / largest.megapixels
    if pixels <= largest.megapixels or expected <= SHARE * free:
        return ""
    return f"about {expected / 1024:.0f} GiB expected, {free / 1024:.0f} GiB free"
