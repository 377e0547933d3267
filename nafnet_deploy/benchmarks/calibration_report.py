"""What a calibration found: the cost and the quality of every stopping rule, and the thresholds that follow."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np

from nafnet_deploy.environment import Environment
from nafnet_deploy.manifest import HEAD, STEP, TAIL, Stopping
from nafnet_deploy.runtime.anytime import QUALITIES
from nafnet_deploy.tables import plain

if TYPE_CHECKING:
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Point:
    """What a rule costs and gives on average."""

    rule: str
    """`fixed`: always N. `last`: by the change of the last iteration."""
    threshold: float
    """N for `fixed`; else the change below which it stops."""
    iterations: float
    """Mean iterations."""
    milliseconds: float
    """Mean time of the network."""
    psnr: float
    """Mean quality (dB)."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A folder's curve and the thresholds that follow."""

    model: str
    """Name of the bundle."""
    graph_sha256: str
    """What was measured; see `ModelManifest.graph_sha256`."""
    engine: str
    """Engine and device."""
    pictures: int
    """How many pictures."""
    against: str
    """What quality means: `clean` pictures, or the picture of `all iterations`."""
    shape: tuple[int, int]
    """Height and width at which parts were timed (pixels)."""
    part_ms: dict[str, float]
    """Median milliseconds of head, step and tail there."""
    points: tuple[Point, ...]
    """Every rule at every threshold that was tried, cheapest first within a rule."""
    stopping: Stopping
    """What goes into the manifest."""
    environment: Environment
    """Where it was measured."""

    def chosen(self, quality: str) -> Point:
        """The point that a word of `--quality` stands for."""
        if quality in self.stopping.quality:
            wanted = self.stopping.quality[quality]
            return next(p for p in self.points if p.rule == "last" and p.threshold == wanted)
        return [p for p in self.points if p.rule == "fixed"][-1]

    def at_cost(self, rule: str, milliseconds: float) -> float:
        """Mean quality (dB) of a rule at a mean cost, interpolated between the points beside it."""
        points = [p for p in self.points if p.rule == rule]
        return float(np.interp(milliseconds, [p.milliseconds for p in points], [p.psnr for p in points]))

    def to_json(self) -> str:
        """Plain JSON."""
        return json.dumps(plain(self), indent=1) + "\n"

    def table(self) -> Table:
        """Fixed numbers of iterations beside the stopping rule at the same mean cost, then the words of --quality."""
        from rich.table import Table

        table = Table(
            title=f"{self.model}: {self.pictures} pictures, quality against {self.against}, {self.engine}",
            caption=f"ms: head {self.part_ms[HEAD]:.1f}, step {self.part_ms[STEP]:.1f}, tail {self.part_ms[TAIL]:.1f} "
            f"at {self.shape[0]}x{self.shape[1]}. 'last' stops by what the last iteration changed, at the mean cost of "
            "the fixed number.",
        )
        for heading in ("", "Mean N", "Mean ms", "PSNR (dB)", "last (dB)"):
            table.add_column(heading, justify="left" if not heading else "right")
        for p in self.points:
            if p.rule == "fixed":
                other = f"{self.at_cost('last', p.milliseconds):.3f}"
                table.add_row(
                    f"N = {p.threshold:.0f}", f"{p.iterations:.2f}", f"{p.milliseconds:.1f}", f"{p.psnr:.3f}", other
                )
        for quality in QUALITIES:
            p = self.chosen(quality)
            words = f"--quality {quality}" + (f" (below {p.threshold:.1e})" if p.rule == "last" else "")
            table.add_row(words, f"{p.iterations:.2f}", f"{p.milliseconds:.1f}", f"{p.psnr:.3f}", "")
        return table
