"""Compares designs of the reasoning unit: the same trained body, the same budget of CPU seconds for each.

Every design replaces the reasoning of one trained checkpoint, is trained on with one task's damage for the
same CPU time of this process (not wall time: other work on the machine takes nothing from a design), and is measured
on validation pictures at every N. The designs are in `reasoning_units.toml`.

    python benchmarks/reasoning_units.py CHECKPOINT TRAIN_DIR VAL_DIR -o benchmarks/results/reasoning-units.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nafnet_deploy.checkpoints.store import Checkpoint, load_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.data.bank import PictureBank, large_enough
from nafnet_deploy.data.datasets import CropDataset, ValidationDataset, collate
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.pairs import Pair, picture_files
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.nafnet_rr import NAFNetRR
from nafnet_deploy.models.reasoning import ReasoningUnit
from nafnet_deploy.training.losses import psnr_loss
from nafnet_deploy.training.validation import plain, restore_all

LARGEST = 5
CROP, BATCH, LR = 96, 4, 6e-4
VALIDATION_CROP = 192


class Additive(ReasoningUnit):
    """The gate lets new reasoning in but never forgets: k' = k + sigmoid(u) * r."""

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        reasoning, gate = self._reason(h, k)
        k = k + torch.sigmoid(gate) * reasoning
        return x + k, k

    def _reason(self, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        z = self.sg(self.mix(self.fuse(self.norm(torch.cat([h, k], dim=1)))))
        z = self.blocks(z * self.sca(z))
        reasoning, gate = self.update(z).chunk(2, dim=1)
        return reasoning, gate


class Previous(Additive):
    """The residual ties to the previous features, not to the unit's input: h' = h + k'."""

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        reasoning, gate = self._reason(h, k)
        k = k + torch.sigmoid(gate) * (reasoning - k)
        return h + k, k


class Features(Additive):
    """The state is the features themselves; the second operand is the unit's input."""

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        reasoning, gate = self._reason(h, x)
        h = h + torch.sigmoid(gate) * reasoning
        return h, k


class Ungated(Additive):
    """No gate: the knowledge is the last reasoning alone."""

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        reasoning, _ = self._reason(h, k)
        return x + reasoning, reasoning


class Recurrent(ReasoningUnit):
    """The body's own blocks are the unit: what was one pass through the middle becomes one iteration.

    The fused features and knowledge enter as a correction that starts at nothing, and the reasoning is what the
    blocks make of them, so that the first iteration starts out as the trained middle.
    """

    def step(self, x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        z = self.sg(self.mix(self.fuse(self.norm(torch.cat([h, k], dim=1)))))
        z = self.blocks(h + self.inject * (z * self.sca(z)))
        correction, gate = self.update(z).chunk(2, dim=1)
        k = k + torch.sigmoid(gate + 3) * (z - x + correction - k)
        return x + k, k


FORMS: dict[str, type[ReasoningUnit]] = {
    "knowledge": ReasoningUnit,
    "additive": Additive,
    "previous": Previous,
    "features": Features,
    "ungated": Ungated,
    "recurrent": Recurrent,
}


def make(body: Checkpoint, design: dict[str, Any]) -> NAFNetRR:
    """The body with the design's units in place; a design may move middle blocks of the body into the unit."""
    fields = {f.name for f in dataclasses.fields(ModelConfig)}
    config = dataclasses.replace(body.config, **{k: _tuple(v) for k, v in design.items() if k in fields})
    network = NAFNetRR(config)
    form = FORMS[design.get("form", "knowledge")]
    for place, unit in network.reasoning.items():
        unit.__class__ = form
        # Starts from little: the trained body is not thrown off by a random unit.
        nn.init.normal_(unit.update.weight, std=1e-3)
        nn.init.zeros_(unit.update.bias)
        if form is Recurrent:
            unit.inject = nn.Parameter(torch.zeros(1, unit.fuse.in_channels // 2, 1, 1))
        if design.get("moves_middle") and place == "middle":
            source = {k[len("middle_blks.") :]: v for k, v in body.weights.items() if k.startswith("middle_blks.")}
            unit.blocks.load_state_dict(
                {
                    f"{int(k.split('.')[0]) - config.middle_blocks}.{k.split('.', 1)[1]}": v
                    for k, v in source.items()
                    if int(k.split(".")[0]) >= config.middle_blocks
                }
            )
    kept = {k: v for k, v in body.weights.items() if not k.startswith("reasoning.")}
    names = set(network.state_dict())
    network.load_state_dict({k: v for k, v in kept.items() if k in names}, strict=False)
    return network


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


TASKS = {
    "noise": (Degradation(sigma=(5, 50)), {f"sigma {s}": Degradation(sigma=(s, s)) for s in (25, 50)}),
    "motion": (Degradation(type="motion"), {"motion": Degradation(type="motion")}),
}
"""Per task what is trained and what is measured."""


def fit(
    network: NAFNetRR,
    design: dict[str, Any],
    bank: PictureBank,
    damage: Degradation,
    budget: float,
    seed: int,
    crop: int = CROP,
) -> tuple[nn.Module, int]:
    """Trains for `budget` CPU seconds on crops of `crop` pixels; returns the averaged network and the steps taken."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, betas=(0.9, 0.9), weight_decay=0.0)
    crops = CropDataset(bank, damage, crop, seed, 2**31)
    first, last = design.get("supervision", [0.5, 1.0])
    fixed = design.get("iterations_trained", 0)
    start, step = time.process_time(), 0
    while (spent := time.process_time() - start) < budget:
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * spent / budget)) + 1e-6
        n = fixed or int(np.random.default_rng((seed, step, 1)).integers(1, LARGEST + 1))
        degraded, clean, *_ = collate([crops[BATCH * step + i] for i in range(BATCH)])
        with torch.autocast("cpu", torch.bfloat16):
            restored = network.forward_all(degraded, n)
        weights = [first + (last - first) * i / max(1, n - 1) for i in range(n)] if n > 1 else [1.0]
        total = torch.stack([w * psnr_loss(p, clean) for w, p in zip(weights, restored, strict=True) if w > 0]).sum()
        optimizer.zero_grad(set_to_none=True)
        (total / sum(weights)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        step += 1
    return average.module.eval(), step


@torch.inference_mode()
def milliseconds(network: nn.Module, n: int, rounds: int = 5) -> float:
    """Median time of one 256x256 picture in eager PyTorch."""
    x = torch.rand(1, 3, 256, 256)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        network(x, n)
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def measure(
    network: nn.Module, config: ModelConfig, bank: PictureBank, damage: Degradation, largest: int = LARGEST
) -> list[float]:
    """Mean PSNR (dB) at N = 1..`largest`."""
    rows = []
    for degraded, clean, *_ in ValidationDataset(bank, damage, VALIDATION_CROP, 0):
        truth = plain(clean[None])
        rows.append([psnr(plain(p), truth) for p in restore_all(network, config, degraded[None], largest)])
    return [float(v) for v in np.mean(rows, axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/reasoning-units.json"))
    parser.add_argument("--seconds", type=float, default=300.0, help="CPU seconds of training per design")
    parser.add_argument("--designs", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--task", choices=TASKS, default="noise")
    parser.add_argument("--only", nargs="*", help="names of designs")
    options = parser.parse_args()
    trained, measured = TASKS[options.task]
    designs = tomllib.loads(options.designs.read_text())
    body = load_checkpoint(options.checkpoint)
    bank = PictureBank(large_enough([Pair(p) for p in picture_files(options.train)], CROP, print), 4096)
    val = PictureBank(large_enough([Pair(p) for p in picture_files(options.val)], VALIDATION_CROP, print), 4096)
    rows = json.loads(options.out.read_text())["designs"] if options.out.exists() else {}
    for name in options.only or designs:
        torch.manual_seed(0)
        design = designs[name]
        network = make(body, design)
        averaged, steps = fit(network, design, bank, trained, options.seconds, seed=0)
        rows[name] = {
            "design": design,
            "parameters": sum(p.numel() for p in network.parameters()),
            "steps": steps,
            "cpu_ms_256": {n: round(milliseconds(averaged, n), 1) for n in (1, 3)},
            "psnr": {
                label: [round(p, 3) for p in measure(averaged, network.config, val, damage)]
                for label, damage in measured.items()
            },
        }
        print(name, json.dumps(rows[name]), flush=True)
        report = {
            "task": options.task,
            "seconds": options.seconds,
            "crop": CROP,
            "batch": BATCH,
            "lr": LR,
            "designs": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
