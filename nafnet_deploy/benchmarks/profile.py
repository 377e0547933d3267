"""Where an engine's time goes: its own profiler's events, summed per kind of operator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from nafnet_deploy.errors import EngineError


@dataclasses.dataclass(frozen=True)
class OpShare:
    """All operators of one kind in one forward pass."""

    op: str
    """Kind of operator, as the engine calls it after its own optimisation."""
    count: int
    """How many there are."""
    ms: float | None
    """Their time, mean over the profiled runs (ms); None where the engine names its layers and times none."""
    share: float | None
    """Of all operators' time, 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """One engine's operators, the costliest kind first."""

    label: str
    """What the benchmark calls the engine."""
    iteration: int
    """Reasoning iterations n."""
    runs: int
    """Forward passes that were averaged."""
    ops: tuple[OpShare, ...]
    """Profiling itself costs time: the shares are worth more than the sum."""

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=f"{self.label}, N = {self.iteration}: operators, mean of {self.runs} profiled runs")
        for heading in ("Operator", "Count", "ms", "Share"):
            table.add_column(heading, justify="left" if heading == "Operator" else "right")
        for op in self.ops:
            ms, share = ("-" if v is None else form.format(v) for v, form in ((op.ms, "{:.2f}"), (op.share, "{:.1%}")))
            table.add_row(op.op, str(op.count), ms, share)
        return table


def read_events(text: str) -> tuple[int, tuple[OpShare, ...]]:
    """Sums the events that ONNX Runtime's profiler wrote, all runs but the first.

    Returns:
        Runs that were summed, and the kinds of operators.

    Raises:
        EngineError: no second run is in the text, or it is not a profile.
    """
    try:
        events: list[Mapping[str, Any]] = json.loads(text)
        starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
        nodes = [
            (str(event["args"]["op_name"]), str(event["name"]), float(event["dur"]))
            for event in events
            if event.get("cat") == "Node"
            and str(event.get("name")).endswith("_kernel_time")
            and len(starts) > 1
            and event["ts"] >= starts[1]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"ONNX Runtime's profile cannot be read: {error!r}.", "Leave --profile out.") from error
    if not nodes:
        raise EngineError("ONNX Runtime's profile holds no operators after the first run.", "Leave --profile out.")
    runs, whole = len(starts) - 1, sum(duration for *_, duration in nodes)
    found = []
    for op in dict.fromkeys(op for op, *_ in nodes):
        mine = [(name, duration) for kind, name, duration in nodes if kind == op]
        spent = sum(duration for _, duration in mine)
        found.append(OpShare(op, round(len(mine) / runs), spent / runs / 1e3, spent / whole))
    return runs, tuple(sorted(found, key=lambda op: -(op.ms or 0)))


def read_layers(text: str) -> tuple[OpShare, ...]:
    """Counts the layers that TensorRT's engine inspector lists as JSON, by kind; it knows no times.

    Plans built without detailed layer information list names alone; those are of the kind `layer`.

    Raises:
        EngineError: not such a list.
    """
    try:
        layers = json.loads(text)["Layers"]
        kinds = [str(layer.get("LayerType", "layer")) if isinstance(layer, Mapping) else "layer" for layer in layers]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"the plan's layers cannot be read: {error!r}.", "Leave --profile out.") from error
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return tuple(OpShare(kind, n, None, None) for kind, n in sorted(counts.items(), key=lambda item: -item[1]))
