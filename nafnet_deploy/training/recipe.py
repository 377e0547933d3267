"""A training recipe: frozen tables read from TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.task_plan import ORDERS
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest, plain, read_table, read_toml

DECAYS = ("cosine", "step", "none")
PRECISIONS = ("32", "bf16", "fp16")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are cut."""

    train: str = "data/train"
    """Folder of training pictures, relative to the working folder; its inner layout is `layout`."""
    val: str = "data/val"
    """Folder of validation pictures, of the same layout."""
    layout: str = "clean"
    """`clean`: clean pictures, degraded on the fly by `degradation`. Others hold pairs: see `data.pairs`."""
    tasks: tuple[str, ...] = ()
    """Tasks to take from a layout that holds several, in this order; empty for all."""
    order: str = "together"
    """Of several tasks: `together`, `sequential` or `progressive`; each is seen as often as the others. See
    `data.task_plan`."""
    told: float = 0.5
    """Share of the examples whose task a network with experts is told; it infers the others'."""
    crop: int = 96
    """Side of a square training crop (pixels of the network's input)."""
    batch: int = 8
    """Crops per optimiser step, over all machines."""
    workers: int = 0
    """Processes that prepare crops; 0 prepares them in the training process."""
    cache: int = 4096
    """Memory for decoded pictures (MiB per process); what does not fit is read again each time."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How long, how fast, and how many iterations."""

    steps: int = 10_000
    """Optimiser steps."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    lr: float = 1e-3
    """Peak learning rate."""
    lr_min: float = 1e-6
    """Last learning rate of the cosine, lowest of the steps."""
    decay: str = "cosine"
    """`cosine` from `lr` to `lr_min`, `step`: times `factor` every `every` steps, or `none`."""
    every: int = 2000
    """Steps between two drops."""
    factor: float = 0.5
    """What a drop multiplies the learning rate with."""
    iterations: int = 1
    """Largest number of iterations trained."""
    random: bool = True
    """Each step draws N uniformly from 1 to the largest allowed then; otherwise it takes the largest."""
    progressive: float = 0.0
    """Share of the steps over which the largest iteration count grows from 1 to `iterations`; 0 is off."""
    supervision: tuple[float, float] = (0.5, 1.0)
    """Weight of the first and of the last iteration's loss; linear between, divided by their sum."""
    never_worse: float = 0.0
    """Weight of the loss by which an iteration is worse than the one before, picture by picture; 0 is off."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its surroundings."""

    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip: float = 1.0
    """Largest gradient norm; 0 is off."""
    accumulate: int = 1
    """Parts that a batch is worked through in, one after the other: the same step with less memory."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights, which is what is validated and kept; 0 is off."""
    precision: str = "32"
    """`32`, `bf16` or `fp16` (mixed; fp16 needs a GPU)."""


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """What is measured and kept while training."""

    every: int = 1000
    """Steps between validations, a divisor of `schedule.steps` or more than that; each also writes the checkpoints."""
    degradation: Degradation | None = None
    """Damage of the validation pictures of layout `clean`; None for that of training. Drawn once, always the same."""
    crop: int = 0
    """Side of the square cut from the middle of each validation picture (pixels); 0 takes it whole."""
    pictures: int = 0
    """How many validation pictures, the first in name order, of several tasks alike; 0 takes all."""
    samples: int = 2
    """How many of them TensorBoard shows."""
    patience: int = 0
    """Validations without a better PSNR after which training stops; 0 never stops early."""
    keep_every: int = 0
    """Steps between checkpoints that are kept for good, a multiple of `every`; 0 keeps best and last alone."""


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """Where it runs: Lightning's words."""

    accelerator: str = "auto"
    """`auto`, `cpu`, `gpu`."""
    devices: int = 1
    """Processes (GPUs, or CPU processes) per machine; more than one train by distributed data parallel."""
    nodes: int = 1
    """Machines."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All of a training run."""

    name: str
    """Name of the model that comes out."""
    preset: str
    """Network to train, a preset's name."""
    iterations: int | None = None
    """Iterations N that the checkpoint recommends; None for the preset's."""
    task: str = "denoising"
    """What the network restores; kept in the checkpoint."""
    start: str = ""
    """Checkpoint or released model whose weights training starts from; empty for fresh weights."""
    seed: int = 0
    """Seed of weights, crops and damage."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    degradation: Degradation = dataclasses.field(default_factory=Degradation)
    loss: dict[str, float] = dataclasses.field(default_factory=lambda: {"psnr": 1.0})
    """Losses and their weights, summed; applied to the picture of every iteration."""
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    validation: ValidationConfig = dataclasses.field(default_factory=ValidationConfig)
    machine: MachineConfig = dataclasses.field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ConfigError(f"recipe: {field} is impossible:", f"{rule}.")

        data, plan, optimizer, validation = self.data, self.schedule, self.optimizer, self.validation
        processes = self.machine.devices * self.machine.nodes
        need(data.crop >= 1 and data.batch >= 1, "data", "crop and batch must be 1 or more")
        need(data.order in ORDERS, "data.order", f"choose from {', '.join(ORDERS)}")
        need(0 <= data.told <= 1, "data.told", "it must lie in [0, 1]")
        need(data.workers >= 0 and data.cache >= 0, "data", "workers and cache must be 0 or more")
        need(plan.steps >= 1, "schedule.steps", "it must be 1 or more")
        need(plan.warmup >= 0 and plan.every >= 1, "schedule", "warmup must be 0 or more and every 1 or more")
        need(plan.lr > 0 and plan.lr_min >= 0, "schedule.lr", "it must be above 0, and lr_min not below 0")
        need(plan.decay in DECAYS, "schedule.decay", f"choose from {', '.join(DECAYS)}")
        falls = plan.decay == "none" or plan.lr >= plan.lr_min
        need(falls, "schedule.lr", f"it must not be below {plan.lr_min}, schedule.lr_min")
        need(0 < plan.factor <= 1, "schedule.factor", "it must lie in (0, 1]")
        need(plan.iterations >= 1, "schedule.iterations", "it must be 1 or more")
        need(0 <= plan.progressive <= 1, "schedule.progressive", "it must lie in [0, 1]")
        need(min(plan.supervision) >= 0 and plan.supervision[1] > 0, "schedule.supervision", "give 0 or more, above 0")
        need(plan.never_worse >= 0, "schedule.never_worse", "give 0 or more")
        need(self.iterations is None or self.iterations >= 1, "iterations", "it must be 1 or more")
        need(0 <= self.seed < 2**64, "seed", "it must lie in [0, 2^64)")
        need(optimizer.weight_decay >= 0 and optimizer.clip >= 0, "optimizer", "give 0 or more for weight_decay, clip")
        need(0 <= optimizer.ema < 1, "optimizer.ema", "it must lie in [0, 1)")
        need(optimizer.precision in PRECISIONS, "optimizer.precision", f"choose from {', '.join(PRECISIONS)}")
        need(optimizer.accumulate >= 1, "optimizer.accumulate", "it must be 1 or more")
        need(min(self.machine.devices, self.machine.nodes) >= 1, "machine", "devices and nodes must be 1 or more")
        need(
            data.batch % (optimizer.accumulate * processes) == 0,
            "data.batch",
            f"it must divide by optimizer.accumulate x processes, {optimizer.accumulate} x {processes}",
        )
        need(validation.every >= 1, "validation.every", "it must be 1 or more")
        counts = ("crop", "pictures", "samples", "patience", "keep_every")
        for name in counts:
            need(getattr(validation, name) >= 0, f"validation.{name}", "it must be 0 or more")
        whole = plan.steps <= validation.every or plan.steps % validation.every == 0
        need(whole, "schedule.steps", f"use a multiple of {validation.every}, validation.every, or less than that")
        kept = validation.keep_every % validation.every == 0
        need(kept, "validation.keep_every", f"use a multiple of {validation.every}, validation.every")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        table: dict[str, Any] = plain(self)
        return table

    def portable(self) -> Recipe:
        """The recipe with the data folders' and the start's names alone: what may travel in a checkpoint."""
        data = dataclasses.replace(self.data, train=Path(self.data.train).name, val=Path(self.data.val).name)
        return dataclasses.replace(self, data=data, start=Path(self.start).name)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; each override is `table.key=value` with a TOML value (a bare word is a string).

    Raises:
        ConfigError: unknown or impossible keys, or an override that is not `key=value`.
    """
    table = read_toml(path)
    for override in overrides:
        key, found, text = override.partition("=")
        if not found:
            raise ConfigError(f"--set {override!r} is not key=value.", "Write for example --set schedule.steps=2000")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        *parents, leaf = key.strip().split(".")
        target = table
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"--set {override!r}: {parent!r} is not a table.", nearest(parent, table))
        target[leaf] = value
    return read_table(Recipe, table, path.name)
