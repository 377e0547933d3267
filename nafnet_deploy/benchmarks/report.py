"""The benchmark report and its table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from rich.table import Table

from nafnet_deploy.benchmarks.cost import CostModel, fit_cost
from nafnet_deploy.benchmarks.device_state import DeviceState
from nafnet_deploy.benchmarks.floor import GemmRate
from nafnet_deploy.benchmarks.noise import CLEAN, UNKNOWN, Noise
from nafnet_deploy.benchmarks.process_cost import ProcessCost
from nafnet_deploy.benchmarks.profile import Profile
from nafnet_deploy.benchmarks.scopes import SCOPES
from nafnet_deploy.benchmarks.statistics import Ratio, Summary
from nafnet_deploy.engines.base import DeviceTimes
from nafnet_deploy.environment import Environment
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.parity.compare import Difference
from nafnet_deploy.parity.report import check_schema, read_report, size
from nafnet_deploy.parity.tolerance import Limits
from nafnet_deploy.tables import plain

SCHEMA = 4


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """One engine at one iteration."""

    iteration: int
    """Reasoning iterations n."""
    label: str
    """What the benchmark calls the engine."""
    engine: str
    """Engine and device as they really were."""
    precision: str
    """Arithmetic it computes in."""
    baseline: bool
    """Whether the others are compared with this one."""
    agreement: Difference
    """The timed picture against the baseline's."""
    time: Summary
    """One turn of the scope."""
    fps: float
    """Pictures per second: 1000 / median ms x batch."""
    speedup: Ratio | None
    """Times faster than the baseline; None for the baseline itself and where the pictures disagree."""
    rounds_ms: tuple[float, ...]
    """Every measured time (ms), in round order: the statistics can be computed again."""
    load_ms: float | None = None
    """Opening of the engine (ms): reading, cutting and optimising the graph."""
    first_ms: float | None = None
    """The first turn (ms); of an engine that compiles then, the compiling."""
    build_ms: float | None = None
    """What was built ahead of time, where the engine says (ms)."""
    process: ProcessCost | None = None
    """The engine in a process of its own; measured at one iteration count only."""
    device: DeviceTimes | None = None
    """By the device's clock."""
    gmacs: float | None = None
    """Multiply-adds of the network for this input (10^9)."""
    floor_share: float | None = None
    """Time of as many multiply-adds in a large float32 matrix product over its own, by `GemmRate.share`."""
    limits: str = ""
    """Key of the report's limits to which its picture is held: the coarsest of `precision`, the baseline's and the
    graphs'. Empty in a report of before, where it is `precision`."""


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """Truthy when all engines gave the same pictures; without that no speed-up is quoted."""

    model: str
    """Name of the network."""
    precision: str
    """Precision of the graphs."""
    shape: tuple[int, ...]
    """Input shape [B, C, H, W] (pixels)."""
    warmup: int
    """Untimed rounds before the timed ones."""
    pause: float
    """Rest before each turn (seconds)."""
    limits: dict[str, Limits]
    """When pictures count as the same, by `BenchmarkRow.limits`."""
    rows: tuple[BenchmarkRow, ...]
    """One per iteration and engine, the baseline first."""
    environment: Environment
    """The machine and its packages."""
    scope: str = "forward"
    """A key of `scopes.SCOPES`: what a turn includes."""
    noise: Noise | None = None
    """How quiet the machine was; None when it was not measured."""
    rate: GemmRate | None = None
    """The matrix product that the floor rests on; None where the multiply-adds are unknown."""
    gpu_before: DeviceState | None = None
    """The GPU before the first turn; None when there is none or it does not say."""
    gpu_after: DeviceState | None = None
    """And after the last."""
    profiles: tuple[Profile, ...] = ()
    """Per engine that offers it, at the largest N."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "benchmark report")

    def __bool__(self) -> bool:
        return bool(self.rows) and all(row.agreement.passed for row in self.rows)

    @property
    def verdict(self) -> str:
        """`clean`, `noisy` or `unknown`; a GPU that held its clocks down is noisy."""
        measured = UNKNOWN if self.noise is None else self.noise.verdict
        throttled = any(state is not None and state.throttled for state in (self.gpu_before, self.gpu_after))
        return "noisy" if throttled else measured

    @property
    def trusted(self) -> bool:
        """Whether the outputs agree and the machine was clean."""
        return bool(self) and self.verdict == CLEAN

    def headline(self, iteration: int) -> str:
        """The speed-ups at an iteration in one line, or why there are none."""
        rows = [row for row in self.rows if row.iteration == iteration]
        wrong = [f"{row.label} ({row.agreement.fault})" for row in rows if not row.agreement.passed]
        if wrong:
            return f"No headline at N = {iteration}: the outputs disagree: {'; '.join(wrong)}."
        base = next((row for row in rows if row.baseline), None)
        speeds = [
            f"{row.label} is {row.speedup.median:.2f} times as fast as {base.label}{self._across(base, row)} "
            f"(95 % interval {row.speedup.low:.2f} to {row.speedup.high:.2f}, {row.time.n} rounds)"
            for row in rows
            if row.speedup is not None and base is not None
        ]
        if not speeds:
            return f"No headline at N = {iteration}: nothing to compare."
        noisy = "" if self.verdict == CLEAN else f" [machine: {self.verdict}]"
        return f"N = {iteration}, {size(self.shape)} {self.precision}, {self.scope}: {'; '.join(speeds)}.{noisy}"

    def _across(self, base: BenchmarkRow, row: BenchmarkRow) -> str:
        """What must be said in the same breath as a ratio between other precisions than that of the graphs."""
        if base.precision == row.precision:
            return "" if row.precision == self.precision else f" [both in {row.precision}]"
        agreement = "equal pictures" if row.agreement.psnr is None else f"pictures agree to {row.agreement.psnr:.1f} dB"
        return f" [{row.precision} against {base.precision}, {agreement}]"

    def costs(self) -> dict[str, CostModel]:
        """Label -> what an iteration costs; empty with fewer than two iteration counts."""
        times: dict[str, dict[int, tuple[float, ...]]] = {}
        for row in self.rows:
            times.setdefault(row.label, {})[row.iteration] = row.rounds_ms
        return {label: cost for label, rounds in times.items() if (cost := fit_cost(rounds)) is not None}

    def to_json(self) -> str:
        """The report as JSON text; `BenchmarkReport.from_json` reads it back equal."""
        table = {**plain(self), "passed": bool(self), "verdict": self.verdict}
        return json.dumps(table, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "benchmark report") -> BenchmarkReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text, or its verdict is not its readings'."""
        try:
            table = json.loads(text)
        except json.JSONDecodeError:
            return read_report(cls, text, where)  # which says what is wrong
        if not isinstance(table, Mapping):
            return read_report(cls, text, where)
        if isinstance(found := table.get("schema"), int):  # before the keys: an older report has others
            check_schema(found, SCHEMA, "benchmark report")
        verdict = table.get("verdict")
        report = read_report(cls, json.dumps({k: v for k, v in table.items() if k != "verdict"}), where)
        if verdict != report.verdict:
            raise ConfigError(f"{where}: 'verdict' is {verdict}, its readings say {report.verdict}.", "Make it again.")
        return report

    def table(self) -> Table:
        """The rows as a table for the terminal."""
        table = Table(
            title=f"{self.model}, {size(self.shape)}, {self.scope}",
            caption=f"{SCOPES.get(self.scope, self.scope)}; FPS = 1000 / median ms x batch; floor: "
            f"time of as many multiply-adds in a float32 matrix product of the same round, over the engine's\n"
            f"{machine(self.environment)}",
        )
        left = ("Engine", "Precision", "Outputs")
        headings = (
            "N",
            "Engine",
            "Precision",
            "Median ms",
            "p90",
            "p99",
            "Min",
            "FPS",
            "Speed-up (95 %)",
            "fp32 floor",
        )
        for heading in (*headings, "Outputs"):
            table.add_column(heading, justify="left" if heading in left else "right")
        for row in self.rows:
            speedup = "baseline" if row.baseline else "-"
            if row.speedup is not None:
                speedup = f"{row.speedup.median:.2f} ({row.speedup.low:.2f}-{row.speedup.high:.2f})"
            agreed = "" if row.baseline else "agree"
            if row.limits not in ("", row.precision) and agreed:
                agreed += f", {row.limits} limits"
            table.add_row(
                str(row.iteration),
                row.label,
                row.precision,
                *(f"{ms:.1f}" for ms in (row.time.median_ms, row.time.p90_ms, row.time.p99_ms, row.time.min_ms)),
                f"{row.fps:.1f}",
                speedup,
                "-" if row.floor_share is None else f"{row.floor_share:.0%}",
                agreed if row.agreement.passed else f"[red]{row.agreement.fault}[/]",
            )
        return table


def machine(environment: Environment) -> str:
    """One line: processor, cores, threads and load."""
    threads = f"{environment.threads} threads" if environment.threads else "default threads"
    load = f", load {environment.load_average[0]:.1f}" if environment.load_average else ""
    cores = "1 core" if environment.cores == 1 else f"{environment.cores} cores"
    return f"{environment.cpu}, {cores}, {threads}{load}"
