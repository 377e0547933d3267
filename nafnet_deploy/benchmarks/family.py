"""The family report: for every named network what it weighs, how far its graphs stray, how fast they run, its plans."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from nafnet_deploy.environment import Environment
from nafnet_deploy.parity.report import check_schema, read_report, report_json
from nafnet_deploy.parity.tolerance import LIMITS

SCHEMA = 1
NOT_YET = "not measured yet"
"""What a cell says until its stage has run."""
HEADINGS = (
    "network",
    "parameters",
    "GMACs",
    "FP32 parity (at)",
    "FP16 oracle (at)",
    "time, PyTorch / ONNX Runtime (at)",
    "RTX plan FP32",
    "RTX plan FP16",
)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A figure, or why there is none."""

    value: float | None
    """None where it could not be taken."""
    at: str = ""
    """Input shapes, e.g. `2x3x32x48`, comma between several."""
    failure: str = ""
    """What went wrong, in one line; empty where there is a value."""

    def __post_init__(self) -> None:
        _one_of_both(self.value, self.failure)


@dataclasses.dataclass(frozen=True)
class Speed:
    """Times of one picture in interleaved rounds, or why there are none."""

    torch_ms: tuple[float, ...]
    """PyTorch eager, per round (milliseconds)."""
    onnxruntime_ms: tuple[float, ...]
    """ONNX Runtime in the same rounds (milliseconds)."""
    at: str = ""
    """Input shape."""
    failure: str = ""
    """What went wrong, in one line."""

    def __post_init__(self) -> None:
        _one_of_both(self.onnxruntime_ms or None, self.failure)
        if len(self.torch_ms) != len(self.onnxruntime_ms):
            raise ValueError("both engines take a turn in every round")

    @property
    def ratio(self) -> float:
        """Median over the rounds of PyTorch's time over ONNX Runtime's."""
        return statistics.median(a / b for a, b in zip(self.torch_ms, self.onnxruntime_ms, strict=True))


@dataclasses.dataclass(frozen=True)
class PlanFigures:
    """A TensorRT-RTX plan as `nafdeploy build` made it, or why there is none."""

    plan_bytes: int | None
    """Size of the plan."""
    seconds: float | None = None
    """What the library's build took."""
    peak_bytes: int | None = None
    """Largest resident memory of the process that built it; None where the system does not say."""
    largest: str = ""
    """Largest input the plan takes."""
    failure: str = ""
    """What went wrong, in one line."""

    def __post_init__(self) -> None:
        _one_of_both(self.plan_bytes, self.failure)


def _one_of_both(value: object, failure: str) -> None:
    if (value is None) is (failure == ""):
        raise ValueError("a figure has either a value or a failure")


@dataclasses.dataclass(frozen=True)
class NetworkFigures:
    """One named network. What is None was not measured yet."""

    name: str
    """Its preset."""
    parameters: int
    """Number of scalar weights."""
    gmacs: float
    """Multiply-adds (10^9) of a 256x256 picture at the preset's iterations, counted by PyTorch's FlopCounterMode."""
    same_as: str = ""
    """Preset with the same configuration, whose figures these are; empty where they are its own."""
    parity: Measurement | None = None
    """Largest difference between the FP32 graph in ONNX Runtime and PyTorch, pictures in [0, 1]."""
    half: Measurement | None = None
    """PSNR (dB) between the FP16 graph in its own arithmetic, by the oracle, and FP32 PyTorch."""
    speed: Speed | None = None
    """One thread each."""
    plan_fp32: PlanFigures | None = None
    plan_fp16: PlanFigures | None = None

    @property
    def stages(self) -> tuple[Measurement | Speed | PlanFigures | None, ...]:
        """What is measured, in the order of the table."""
        return self.parity, self.half, self.speed, self.plan_fp32, self.plan_fp16

    def __bool__(self) -> bool:
        """Whether all of it was measured, nothing failed and both precisions keep their limits."""
        if any(stage is None or stage.failure for stage in self.stages):
            return False
        assert self.parity is not None
        assert self.half is not None
        decibels = LIMITS["fp16"].min_psnr
        assert decibels is not None
        return (self.parity.value or 0.0) < LIMITS["fp32"].max_abs_error and (self.half.value or 0.0) >= decibels

    def cells(self) -> tuple[str, ...]:
        """The row of the table, one text per heading; none is empty."""
        return (
            f"`{self.name}`" + (f" (= `{self.same_as}`)" if self.same_as else ""),
            f"{self.parameters:,}",
            f"{self.gmacs:,.2f}",
            _measured(self.parity, "{:.1e}"),
            _measured(self.half, "{:.1f} dB"),
            _speed(self.speed),
            _plan(self.plan_fp32),
            _plan(self.plan_fp16),
        )


@dataclasses.dataclass(frozen=True)
class FamilyReport:
    """Truthy when every network passed."""

    networks: tuple[NetworkFigures, ...]
    """In the order of the presets."""
    environment: Environment
    """The machine and its packages when the last figure was taken."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "family report")

    def __bool__(self) -> bool:
        return bool(self.networks) and all(self.networks)

    def to_json(self) -> str:
        """The report as JSON text; `from_json` reads it back equal."""
        return report_json(self, bool(self))

    @classmethod
    def from_json(cls, text: str, where: str = "family report") -> FamilyReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        return read_report(cls, text, where)

    def markdown(self) -> str:
        """The table, one row per network."""
        return "\n".join(
            [_row(HEADINGS), "|" + "---|" * len(HEADINGS), *(_row(figures.cells()) for figures in self.networks)]
        )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _measured(found: Measurement | None, form: str) -> str:
    if found is None:
        return NOT_YET
    return f"failed: {found.failure}" if found.value is None else f"{form.format(found.value)} ({found.at})"


def _speed(found: Speed | None) -> str:
    if found is None:
        return NOT_YET
    return f"failed: {found.failure}" if found.failure else f"{found.ratio:.2f} ({found.at})"


def _plan(found: PlanFigures | None) -> str:
    if found is None:
        return NOT_YET
    if found.plan_bytes is None or found.seconds is None:
        return f"failed: {found.failure}"
    peak = "unknown" if found.peak_bytes is None else f"{found.peak_bytes / 2**30:.1f} GiB"
    size = f"{found.plan_bytes / 1e6:.1f} MB in {found.seconds:.0f} s"
    return f"yes, {size}, memory of the build {peak} (up to {found.largest})"
