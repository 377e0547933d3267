"""The report of a whole chain: every link from the network to the engine with its own limits and its own verdict."""

from __future__ import annotations

import dataclasses

from nafnet_deploy.environment import Environment
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.parity.compare import ParityRow
from nafnet_deploy.parity.report import check_schema, read_report, report_json, size
from nafnet_deploy.parity.self_tests import SelfTest
from nafnet_deploy.parity.steps import Step, steps_of
from nafnet_deploy.parity.tolerance import Limits

SCHEMA = 2

EXPORT = "PyTorch FP32 -> ONNX FP32"
HALF = "ONNX FP32 -> ONNX FP16"
ENGINE = "ONNX -> engine"
LINKS = (EXPORT, HALF, ENGINE)
"""Every link there is, in order."""
PASS, FAIL, SKIPPED = "pass", "fail", "not checked"


@dataclasses.dataclass(frozen=True)
class Link:
    """One step of the way from network to engine."""

    name: str
    """One of `LINKS`."""
    verdict: str
    """`pass`, `fail` or `not checked`."""
    reason: str = ""
    """Why it was not checked; empty when it was."""
    note: str = ""
    """What a reader must know of this comparison besides its figures."""
    reference: str = ""
    """Where the right answers came from: `pytorch`, `golden`, or the engine that ran the link before."""
    engine: str = ""
    """What was compared with them, as it really was."""
    limits: Limits | None = None
    """What passes; None when it was not checked."""
    rows: tuple[ParityRow, ...] = ()
    """One per iteration and input."""
    steps: tuple[Step, ...] = ()
    """One per iteration."""

    def __post_init__(self) -> None:
        expected = SKIPPED if self.reason else FAIL if self.failures or not self.rows else PASS
        if self.verdict != expected:
            raise ConfigError(f"the verdict of {self.name} is {self.verdict!r}, its rows say {expected!r}.", "")

    @property
    def failures(self) -> tuple[ParityRow, ...]:
        """The comparisons that did not pass."""
        return tuple(row for row in self.rows if not row.difference.passed)

    @property
    def drowned(self) -> tuple[int, ...]:
        """Iterations that change the picture by no more than the error, though the error is within the limits."""
        failed = {row.iteration for row in self.failures}
        return tuple(s.iteration for s in self.steps if s.useful is False and s.iteration not in failed)

    def fault(self) -> str:
        """The first failure in words; empty when there is none."""
        if self.verdict != FAIL:
            return ""
        if not self.rows:
            return "nothing was compared"
        first = self.failures[0]
        what = f" ({first.name})" if first.name else ""
        return (
            f"{len(self.failures)} of {len(self.rows)} comparisons failed; the first, iteration {first.iteration} at "
            f"{size(first.shape)}{what}: {first.difference.fault}"
        )


def checked(
    name: str, reference: str, engine: str, limits: Limits, rows: tuple[ParityRow, ...], note: str = ""
) -> Link:
    """A link that was compared."""
    sound = bool(rows) and all(row.difference.passed for row in rows)
    return Link(name, PASS if sound else FAIL, "", note, reference, engine, limits, rows, steps_of(rows, limits.stat))


def not_checked(name: str, reason: str) -> Link:
    """A link that was not compared, and why."""
    return Link(name, SKIPPED, reason)


@dataclasses.dataclass(frozen=True)
class ChainReport:
    """Truthy when at least one link was checked, and every link and self-test that was checked passed."""

    model: str
    """Name in the manifest."""
    graph_sha256: str
    """Hash of the graph that was compared."""
    reference: str
    """Where the first right answers come from: `pytorch` (this machine, now) or `golden` (the bundle's golden file)."""
    engine: str
    """The last engine of the chain that was run, as it really was; the self-tests ran on it."""
    precision: str
    """Arithmetic of the graph."""
    links: tuple[Link, ...]
    """One per name in `LINKS`, in that order."""
    self_tests: tuple[SelfTest, ...]
    """What needs no reference."""
    environment: Environment
    """The machine and its packages."""
    schema: int = SCHEMA
    """Version of the JSON layout."""

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA, "parity report")

    def __bool__(self) -> bool:
        sound = all(link.verdict != FAIL for link in self.links) and not self.failed_tests
        return sound and any(link.verdict == PASS for link in self.links)

    @property
    def failed_links(self) -> tuple[Link, ...]:
        """The links that made a loss."""
        return tuple(link for link in self.links if link.verdict == FAIL)

    @property
    def failed_tests(self) -> tuple[SelfTest, ...]:
        """The self-tests that failed."""
        return tuple(test for test in self.self_tests if test.verdict == FAIL)

    def verdict(self) -> str:
        """The outcome in one line, which names the link that made the loss."""
        faults = [f"{link.name}: {link.fault()}" for link in self.failed_links]
        if self.failed_tests:
            names = ", ".join(test.name for test in self.failed_tests)
            first = self.failed_tests[0]
            faults.append(f"self-tests failed: {names}; the first: {first.detail}")
        if faults:
            return f"{'; '.join(faults)}."
        passed = [link for link in self.links if link.verdict == PASS]
        if not passed:
            return "No link of the chain was compared."
        left = [link.name for link in self.links if link.verdict == SKIPPED]
        line = f"{', '.join(link.name for link in passed)}: {sum(len(link.rows) for link in passed)} comparisons passed"
        tests = sum(test.verdict == PASS for test in self.self_tests)
        line += f", and {tests} of {len(self.self_tests)} self-tests" if tests else ""
        return f"{line}. {'Not checked: ' + ', '.join(left) + '.' if left else ''}".strip()

    def remarks(self) -> list[str]:
        """What is no failure and must be said: links left out, iterations that drown, what an engine computes."""
        lines = []
        for link in self.links:
            if link.reason:
                lines.append(f"{link.name}: not checked: {link.reason}")
            if link.note:
                lines.append(f"{link.name}: {link.note}")
            if link.drowned:
                numbers = ", ".join(map(str, link.drowned))
                lines.append(f"{link.name}: drowned in rounding, change not above the error: iteration {numbers}")
        return lines

    def to_json(self) -> str:
        """The report as JSON text, as `report.schema.json` describes it; `from_json` reads it back equal."""
        return report_json(self, bool(self))

    @classmethod
    def from_json(cls, text: str, where: str = "parity report") -> ChainReport:
        """Reads `to_json`'s text. `ConfigError` when it is not such a text."""
        return read_report(cls, text, where)
