"""Is a time budget kept? Runs the network of a split bundle again and again and counts.

python benchmarks/anytime_budget.py BUNDLE.json [--runs 200] [--side 256] [--factor 1.5]

The budget is `factor` times what one iteration takes here. JSON on stdout.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from nafnet_deploy.config import plain
from nafnet_deploy.engines.registry import open_anytime
from nafnet_deploy.engines.stopping import Budget, StopRule
from nafnet_deploy.environment import read_environment
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.released import find_bundle

TOLERANCE = 1.1
"""A run is in time when it ends within so many times the budget."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--factor", type=float, default=1.5)
    options = parser.parse_args()
    bundle = find_bundle(options.bundle)
    assert bundle.manifest.stopping is not None, "give a split bundle"
    feeds = {bundle.manifest.inputs[0].name: natural_batch((1, 3, options.side, options.side), 0)}

    def seconds(run: object) -> float:
        began = time.perf_counter()
        run(feeds)
        return time.perf_counter() - began

    with open_anytime("auto", bundle, StopRule(1)) as engine:
        one = float(np.median([seconds(engine.run) for _ in range(12)][2:]))
    budget = options.factor * one
    rule = StopRule(1000, stopping=bundle.manifest.stopping)
    with open_anytime("auto", bundle, rule, Budget(budget)) as engine:
        times = []
        for i in range(options.runs + 1):
            engine.announce(1)
            if i == 0:
                engine.run(feeds)  # the first run of a size measures it
                engine.counts = Counter()
            else:
                times.append(seconds(engine.run))
        late = sum(t > TOLERANCE * budget for t in times)
        report = {
            "bundle": bundle.manifest.name,
            "engine": engine.name,
            "one_iteration_ms": 1e3 * one,
            "budget_ms": 1e3 * budget,
            "runs": len(times),
            "within_tolerance": 1 - late / len(times),
            "ms": {f"p{q}": 1e3 * float(np.percentile(times, q)) for q in (1, 50, 90, 99, 100)},
            "iterations": {str(n): count for n, count in sorted(engine.counts.items())},
            "environment": plain(read_environment()),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
