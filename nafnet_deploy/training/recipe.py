"""A training recipe: frozen tables read from TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nafnet_deploy.config import nearest, plain, read_table, read_toml
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are cut."""

    train: str = "data/train"
    """Folder of clean training pictures, relative to the working folder."""
    val: str = "data/val"
    """Folder of clean validation pictures."""
    crop: int = 96
    """Side of a square training crop (pixels)."""
    batch: int = 8
    """Crops per step."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast."""

    steps: int = 10_000
    """Optimiser steps."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    lr: float = 1e-3
    """Peak learning rate; a cosine brings it down to `lr_min`."""
    lr_min: float = 1e-6
    """Last learning rate."""
    progressive: float = 0.0
    """Share of the steps over which the largest iteration count grows from 1 to `iterations`; 0 is off."""
    iterations: int = 1
    """Largest number of iterations trained; each step draws N uniformly from 1 to the largest allowed then."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its surroundings."""

    loss: str = "psnr"
    """`psnr`, `l1` or `charbonnier`; applied to the picture of every iteration."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip: float = 1.0
    """Largest gradient norm; 0 is off."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights, which is what is validated and kept; 0 is off."""
    bf16: bool = False
    """bfloat16 autocast."""


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while training."""

    validate_every: int = 1000
    """Steps between validations; each one also writes a checkpoint."""
    sigma: float = 25.0
    """Noise level of the validation pictures, in steps of 255."""


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
    seed: int = 0
    """Seed of weights, crops and noise."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    degradation: Degradation = dataclasses.field(default_factory=Degradation)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ConfigError(f"recipe: {field} is impossible:", f"{rule}.")

        need(self.data.crop >= 1 and self.data.batch >= 1, "data", "crop and batch must be 1 or more")
        need(self.schedule.steps >= 1, "schedule.steps", "it must be 1 or more")
        need(self.schedule.iterations >= 1, "schedule.iterations", "it must be 1 or more")
        need(0 <= self.schedule.progressive <= 1, "schedule.progressive", "it must lie in [0, 1]")
        need(self.schedule.lr > 0, "schedule.lr", "it must be above 0")
        need(0 <= self.optimizer.ema < 1, "optimizer.ema", "it must lie in [0, 1)")
        need(self.log.validate_every >= 1, "log.validate_every", "it must be 1 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        table: dict[str, Any] = plain(self)
        return table

    def portable(self) -> Recipe:
        """The recipe with the data folders' names alone: what may travel in a checkpoint."""
        data = dataclasses.replace(self.data, train=Path(self.data.train).name, val=Path(self.data.val).name)
        return dataclasses.replace(self, data=data)


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
