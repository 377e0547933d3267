"""The report of one comparison, and what every report of this package has in common."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.parity.compare import ParityRow
from nafnet_deploy.parity.tolerance import Limits
from nafnet_deploy.tables import plain, read_table

R = TypeVar("R")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """Truthy when every comparison passed; a report without comparisons proves nothing and is falsy."""

    model: str
    """Name in the manifest."""
    graph_sha256: str
    """Hash of the graph that was compared."""
    reference: str
    """Where the right answers come from: `pytorch` (this machine, now) or `golden` (the bundle's golden file)."""
    engine: str
    """Engine and device as they really were."""
    precision: str
    """Arithmetic of the graph, e.g. `fp32`; chooses the limits."""
    limits: Limits
    """What passes."""
    rows: tuple[ParityRow, ...]
    """One per iteration and input."""
    arithmetic: str = ""
    """What the engine computed in which precision, in words; empty when nothing more than `precision` is known."""

    def __bool__(self) -> bool:
        return bool(self.rows) and not self.failures

    @property
    def failures(self) -> tuple[ParityRow, ...]:
        """The rows that did not pass."""
        return tuple(row for row in self.rows if not row.difference.passed)

    @property
    def max_abs_error(self) -> float:
        """The largest error of all rows; infinite when a row could not be compared."""
        errors = (row.difference.max_abs_error for row in self.rows)
        return max((math.inf if e is None else e for e in errors), default=math.inf)

    @property
    def min_psnr(self) -> float:
        """The lowest PSNR of all rows (dB); infinite when all are equal, NaN when a row could not be compared."""
        if any(row.difference.max_abs_error is None for row in self.rows):
            return math.nan
        return min((math.inf if (p := row.difference.psnr) is None else p for row in self.rows), default=math.nan)

    def verdict(self) -> str:
        """The outcome in one line."""
        if not self.rows:
            return "Nothing was compared."
        if not self.failures:
            return (
                f"All {len(self.rows)} comparisons passed: largest difference {self.max_abs_error:.2g}, "
                f"limit {self.limits.max_abs_error:.2g}"
                + (
                    "."
                    if self.limits.min_psnr is None
                    else f"; lowest PSNR {self.min_psnr:.1f} dB, limit {self.limits.min_psnr:g} dB."
                )
            )
        first = self.failures[0]
        return (
            f"{len(self.failures)} of {len(self.rows)} comparisons failed; the first, iteration {first.iteration} at "
            f"{size(first.shape)}: {first.difference.fault}."
        )


def size(shape: tuple[int, ...]) -> str:
    """`1x3x64x64`."""
    return "x".join(map(str, shape))


def legal(text: str) -> str:
    """Without the characters that XML and HTML cannot hold; a file's name may have them."""
    return _FORBIDDEN.sub("?", text)


def check_schema(found: int, known: int, what: str) -> None:
    """Raises a `ConfigError` when a report has another format than this program reads."""
    if found != known:
        raise ConfigError(
            f"the {what} has format {found}, this program reads {known}.", "Make it again, or update nafnet-deploy."
        )


def report_json(report: Any, passed: bool) -> str:
    """A report's fields as strict JSON, with its verdict as `passed` so that a shell script can read it."""
    return json.dumps({**plain(report), "passed": passed}, indent=1, allow_nan=False) + "\n"


def read_report(cls: type[R], text: str, where: str) -> R:
    """Rebuilds a report from `report_json`'s text.

    Raises:
        ConfigError: not JSON, unknown or missing keys, wrong types, another format, or a `passed` that the
            report's own rows contradict.
    """
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is not JSON: {error}.", "Make the report again.") from error
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is not a report.", "Make the report again.")
    passed = table.get("passed")
    report = read_table(cls, {key: value for key, value in table.items() if key != "passed"}, where)
    if passed is not bool(report):
        raise ConfigError(f"{where}: 'passed' is {passed}, its rows say {bool(report)}.", "Make the report again.")
    return report
