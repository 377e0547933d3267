"""Is a time budget kept? Runs the network of a split bundle again and again and counts.

    python benchmarks/anytime_budget.py [MODEL] [-o benchmarks/results/budget-MODEL.json]

MODEL is a released model, which is split in a temporary folder, or a split bundle. The budget is `--factor` times what
one iteration takes here, or `--budget-ms`. Each run is followed by one of a single iteration without a budget: where
that alone does not end within 1.1 times the budget, the machine was held up, and no choice could have kept it.
Exit code 5 when fewer than 99 % of the runs end within 1.1 times the budget, 7 when neither do those of one iteration.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import typer

from nafnet_deploy.benchmarks.noise import NoiseMeter
from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.cli.console import say
from nafnet_deploy.engines.registry import open_anytime, stopping_of
from nafnet_deploy.engines.stopping import Budget, StopRule
from nafnet_deploy.environment import read_environment
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.released import find_bundle
from nafnet_deploy.tables import plain

TOLERANCE = 1.1
"""A run is in time when it ends within so many times the budget."""
SHARE = 0.99
"""Share of the runs that must be in time."""
READ_EVERY = 20
"""Runs between two readings of how quiet the machine is."""


def measure(
    bundle: Bundle, runs: int, side: int, factor: float, budget_ms: float | None, threads: int | None
) -> dict[str, object]:
    """The report."""
    feeds = {bundle.manifest.inputs[0].name: natural_batch((1, 3, side, side), 0)}

    def seconds(run: Callable[..., object]) -> float:
        began = time.perf_counter()
        run(feeds)
        return time.perf_counter() - began

    with open_anytime("auto", bundle, StopRule(1), threads=threads) as engine:
        one = float(np.median([seconds(engine.run) for _ in range(12)][2:]))
    budget = factor * one if budget_ms is None else budget_ms / 1e3
    rule = StopRule(1000, stopping=stopping_of(bundle.manifest))
    meter, times, alone = NoiseMeter(), [], []
    with (
        open_anytime("auto", bundle, rule, Budget(budget), threads) as engine,
        open_anytime("auto", bundle, StopRule(1), threads=threads) as single,
    ):
        for i in range(runs + 1):
            engine.announce(1)
            if i == 0:
                engine.run(feeds)  # the first run of a size measures it
                engine.counts = Counter()
                continue
            times.append(seconds(engine.run))
            alone.append(seconds(single.run))
            if i % READ_EVERY == 0:
                meter.read()
        noise = meter.result()
        within, possible = (sum(t <= TOLERANCE * budget for t in each) / len(each) for each in (times, alone))
        return {
            "bundle": bundle.manifest.name,
            "engine": engine.name,
            "side": side,
            "one_iteration_ms": 1e3 * one,
            "budget_ms": 1e3 * budget,
            "runs": len(times),
            "within_tolerance": within,
            "one_iteration_within_tolerance": possible,
            "kept": within >= SHARE,
            "machine_allows_it": possible >= SHARE,
            "ms": _percentiles(times),
            "one_iteration_alone_ms": _percentiles(alone),
            "iterations": {str(n): count for n, count in sorted(engine.counts.items())},
            "machine": noise.verdict,
            "machine_words": noise.words(),
            "environment": plain(read_environment()),
        }


def _percentiles(times: list[float]) -> dict[str, float]:
    return {f"p{q}": 1e3 * float(np.percentile(times, q)) for q in (1, 50, 90, 99, 100)}


def main(
    model: str = typer.Argument("denoise-light", help="A released model or a split bundle."),
    runs: int = typer.Option(200, help="Runs that are timed."),
    side: int = typer.Option(256, help="Height and width of the picture."),
    factor: float = typer.Option(2.0, help="The budget, as a multiple of the time of one iteration."),
    budget_ms: float | None = typer.Option(None, help="The budget itself."),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    out: Path | None = typer.Option(None, "-o", "--out", help="JSON file to write."),
) -> None:
    """Count how often a budget is kept."""
    with TemporaryDirectory() as folder:
        if model.endswith((".onnx", ".json")):
            bundle = find_bundle(model)
        else:
            bundle = export_bundle(load_model(model), ExportRecipe(mode="split", output=folder))
        report = measure(bundle, runs, side, factor, budget_ms, threads)
    text = json.dumps(report, indent=1) + "\n"
    print(text, end="")
    say(
        f"{report['within_tolerance']:.1%} of {runs} runs ended within {TOLERANCE} times {report['budget_ms']:.0f} ms. "
        f"One iteration alone: {report['one_iteration_within_tolerance']:.1%}. {report['machine_words']}"
    )
    if out is not None:
        out.write_text(text, encoding="utf-8")
    raise typer.Exit(0 if report["kept"] else 5 if report["machine_allows_it"] else 7)


if __name__ == "__main__":
    typer.run(main)
