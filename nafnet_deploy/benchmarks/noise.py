"""How quiet the machine was: the spread of a fixed piece of work, and the share of the cores that others took."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np

MAX_SPREAD = 0.10
"""The fixed work's p90 may lie this far above its fastest time on a clean machine, as a share of the latter."""
MAX_OTHERS = 0.10
"""Other processes may take this share of the cores on a clean machine."""
MIN_READINGS = 5
"""Fewer readings say nothing about a spread."""
CLEAN, NOISY, UNKNOWN = "clean", "noisy", "unknown"
MIN_CORE_SECONDS = 2.0
"""The system counts in hundredths of a second: over less than this a share of the cores means nothing."""
REST = 0.3
"""Seconds before a reading: the threads of an engine that ran just before go on spinning on the cores for a while, and
that is no noise of the machine."""
_SIDE = 384
_REPEATS = 3
_STAT = Path("/proc/stat")


@dataclasses.dataclass(frozen=True)
class Noise:
    """What was seen of the machine while a benchmark ran."""

    gemm_ms: tuple[float, ...]
    """Times of the fixed work, a small float32 matrix product: before, between the rounds and after (ms)."""
    others: float | None
    """Share of this process's cores that other processes were busy on, 0 to 1; None where the system does not say."""

    @property
    def spread(self) -> float | None:
        """(p90 - fastest) / fastest of the fixed work; None with too few readings."""
        if len(self.gemm_ms) < MIN_READINGS:
            return None
        fastest = min(self.gemm_ms)
        return (float(np.quantile(self.gemm_ms, 0.9)) - fastest) / fastest

    @property
    def verdict(self) -> str:
        """`clean`, `noisy` or `unknown`."""
        if self.others is not None and self.others > MAX_OTHERS:
            return NOISY
        if self.spread is None:
            return UNKNOWN
        return NOISY if self.spread > MAX_SPREAD else CLEAN

    def words(self) -> str:
        """The verdict and what it rests on, in one line."""
        spread = "not measured" if self.spread is None else f"{self.spread:.0%} (limit {MAX_SPREAD:.0%})"
        others = "unknown" if self.others is None else f"{self.others:.0%} (limit {MAX_OTHERS:.0%})"
        return (
            f"The machine was {self.verdict}: spread of the fixed work {spread}, {len(self.gemm_ms)} readings; "
            f"cores taken by others {others}."
            if self.verdict != UNKNOWN
            else f"How quiet the machine was is unknown: {len(self.gemm_ms)} readings of the fixed work, "
            f"{MIN_READINGS} are needed."
        )


class NoiseMeter:
    """Takes readings from its making until `result`.

    The fixed work takes a millisecond or two and is the fastest of a few repetitions, so that a reading shows the
    machine and not the caches that the engine before it left behind.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._a, self._b = (rng.random((_SIDE, _SIDE), dtype=np.float32) for _ in range(2))
        self._times: list[float] = []
        self._began = _usage()
        self.read()
        self._times.clear()  # the first product also starts the library's threads
        self.read()

    def read(self) -> None:
        """One reading, after a rest."""
        time.sleep(REST)
        fastest = min(self._product() for _ in range(_REPEATS))
        self._times.append(max(fastest, 1) / 1e6)

    def _product(self) -> int:
        start = time.perf_counter_ns()
        np.dot(self._a, self._b)
        return time.perf_counter_ns() - start

    def result(self) -> Noise:
        """A last reading, and all of them."""
        self.read()
        return Noise(tuple(self._times), others_share(self._began, _usage()))


@dataclasses.dataclass(frozen=True)
class Usage:
    """Seconds of processor time since some moment in the past."""

    busy: float
    """On the cores that this process may use, by anybody."""
    own: float
    """By this process and its children that ended."""
    total: float
    """Those cores times wall time."""


def others_share(began: Usage | None, ended: Usage | None) -> float | None:
    """Share of the cores' time between two readings that went to other processes, 0 to 1; None when unknown."""
    if began is None or ended is None or ended.total - began.total < MIN_CORE_SECONDS:
        return None
    others = (ended.busy - began.busy) - (ended.own - began.own)
    return min(max(others / (ended.total - began.total), 0.0), 1.0)


def _usage() -> Usage | None:
    try:
        cores = {f"cpu{i}" for i in os.sched_getaffinity(0)}
        rows = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        tick = float(os.sysconf("SC_CLK_TCK"))
    except (AttributeError, OSError, ValueError):  # not Linux
        return None
    counts = [[int(v) / tick for v in row[1:9]] for row in rows if row[0] in cores]
    if not counts or any(len(row) < 8 for row in counts):
        return None
    own = os.times()
    # user nice system idle iowait irq softirq steal: idle and iowait are the time that was free.
    return Usage(
        busy=sum(sum(row) - row[3] - row[4] for row in counts),
        own=own.user + own.system + own.children_user + own.children_system,
        total=sum(map(sum, counts)),
    )
