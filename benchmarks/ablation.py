"""Compares parts of the block in NAFNet-RR light: attention, gates and FFT skips, the same budget of CPU seconds each.

Every design starts from random weights and trains on colour noise for the same CPU time of this process; then PyTorch
eager runs all of them in interleaved rounds, in CPU time as well. The designs are in `ablation.toml`. The result is
written after every design, and what it holds is kept, so the work may be stopped and started.

    OMP_NUM_THREADS=1 python benchmarks/ablation.py TRAIN_DIR VAL_DIR -o benchmarks/results/ablation-light.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from reasoning_units import BATCH, LR, TASKS, VALIDATION_CROP, fit, measure

from nafnet_deploy.benchmarks.timing import round_order
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.data.bank import PictureBank, large_enough
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.pairs import Pair, picture_files
from nafnet_deploy.environment import read_environment
from nafnet_deploy.models.counting import count
from nafnet_deploy.models.nafnet_rr import NAFNetRR
from nafnet_deploy.presets import LIGHT
from nafnet_deploy.tables import plain

CROP, LARGEST = 64, 3
MEASURED = Degradation(sigma=(25, 25))
SIDE, ROUNDS, WARMUP = 256, 5, 1
"""Height and width (pixels) of the timed picture; how often."""


def network_of(design: dict[str, Any]) -> tuple[NAFNetRR, ModelConfig]:
    """The light body with the design's parts and PyTorch's initial weights."""
    config = dataclasses.replace(LIGHT, **{k: v for k, v in design.items() if k != "seed"})
    torch.manual_seed(design.get("seed", 0))
    return NAFNetRR(config), config


def train(design: dict[str, Any], bank: PictureBank, val: PictureBank, seconds: float) -> dict[str, Any]:
    """One row of the result."""
    network, config = network_of(design)
    averaged, steps = fit(network, {}, bank, TASKS["noise"][0], seconds, design.get("seed", 0), CROP)
    counts = count(config, SIDE, SIDE)
    return {
        "design": design,
        "parameters": counts.parameters,
        "gmacs_256": round(counts.macs / 1e9, 3),
        "steps": steps,
        "psnr": [round(p, 3) for p in measure(averaged, config, val, MEASURED, LARGEST)],
    }


@torch.inference_mode()
def cpu_milliseconds(designs: dict[str, Any]) -> dict[str, list[float]]:
    """CPU time of one picture per round and design, at the preset's N."""
    networks = {name: network_of(design)[0].eval() for name, design in designs.items()}
    x = torch.rand(1, 3, SIDE, SIDE)
    times: dict[str, list[float]] = {name: [] for name in designs}
    for number in range(-WARMUP, ROUNDS):
        for name in round_order(tuple(designs), number):
            start = time.process_time()
            networks[name](x, LIGHT.iterations)
            if number >= 0:
                times[name].append(round(1000 * (time.process_time() - start), 1))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/ablation-light.json"))
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU seconds of training per design")
    options = parser.parse_args()
    designs = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    rows: dict[str, Any] = json.loads(options.out.read_text())["designs"] if options.out.exists() else {}
    bank = PictureBank(large_enough([Pair(p) for p in picture_files(options.train)], CROP, print), 4096)
    val = PictureBank(large_enough([Pair(p) for p in picture_files(options.val)], VALIDATION_CROP, print), 4096)
    for name in designs:
        if name not in rows:
            rows[name] = train(designs[name], bank, val, options.seconds)
            print(name, json.dumps(rows[name]), flush=True)
            write(rows, options, len(val))
    times = cpu_milliseconds({name: designs[name] for name in rows})
    first = times[next(iter(designs))]
    for name, row in rows.items():
        row["cpu_ms_256"] = times[name]
        row["time_ratio"] = round(statistics.median(a / b for a, b in zip(times[name], first, strict=True)), 3)
    write(rows, options, len(val))


def write(rows: dict[str, Any], options: argparse.Namespace, pictures: int) -> None:
    """The result so far."""
    report = {
        "preset": "light",
        "seconds": options.seconds,
        "crop": CROP,
        "batch": BATCH,
        "lr": LR,
        "validation": f"sigma 25, middle {VALIDATION_CROP}x{VALIDATION_CROP} of {pictures} pictures",
        "environment": plain(read_environment(threads=1)),
        "designs": rows,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
