"""The training loop: a recipe in, checkpoints out; a killed run resumes exactly where it was saved."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.data.datasets import CropBatches, load_folder
from nafnet_deploy.errors import CheckpointError, ConfigError, UsageError
from nafnet_deploy.models.registry import build, count_parameters, pictures
from nafnet_deploy.presets import preset
from nafnet_deploy.training.losses import LOSSES, deep_supervision
from nafnet_deploy.training.recipe import Recipe
from nafnet_deploy.training.state import load_state, save_state
from nafnet_deploy.training.validation import validation_psnr

STATE_FILE = "last.state"


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the loop tells after every step."""

    step: int
    """Steps done."""
    loss: float
    """Loss of this step."""
    psnr: tuple[float, ...] = ()
    """Validation PSNR per iteration (dB), only after a validation."""


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine from `lr` to `lr_min` (Loshchilov & Hutter, 2017)."""
    s = recipe.schedule
    if step < s.warmup:
        return s.lr * (step + 1) / s.warmup
    share = (step - s.warmup) / max(1, s.steps - s.warmup)
    return s.lr_min + 0.5 * (s.lr - s.lr_min) * (1 + math.cos(math.pi * share))


def iterations_at(recipe: Recipe, step: int) -> int:
    """N of a step: uniform from 1 to a largest value that grows over the `progressive` share of the run."""
    s = recipe.schedule
    largest = s.iterations
    if s.progressive > 0:
        share = step / (s.progressive * s.steps)
        largest = min(s.iterations, 1 + int(share * (s.iterations - 1)))
    return int(np.random.default_rng((recipe.seed, step, 1)).integers(1, largest + 1))


def train(
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Path:
    """Trains and returns the path of the best checkpoint by validation PSNR at the largest N.

    Args:
        recipe: what to do.
        out: folder for `best.safetensors`, `last.safetensors`, the resume state and `log.jsonl`.
        resume: go on from the state in `out`.
        on_progress: called after every step.
        on_note: called with a line for the user.

    Raises:
        ConfigError: an unknown loss or preset, unusable data, or a state of another recipe.
        UsageError: the loss is no longer a number.
        CheckpointError: nothing to resume, or a run in `out` that would be overwritten.
    """
    if recipe.optimizer.loss not in LOSSES:
        raise ConfigError(f"the loss {recipe.optimizer.loss!r} is unknown.", f"Choose from {', '.join(LOSSES)}.")
    started = time.time()
    trainer = Trainer(recipe, on_note)
    if resume:
        trainer.restore(out / STATE_FILE)
    elif (out / STATE_FILE).exists():
        raise CheckpointError(f"{out} already holds a run.", "Go on with --resume, or give another folder with -o.")
    out.mkdir(parents=True, exist_ok=True)
    count = count_parameters(trainer.network)
    on_note(f"{recipe.name}: {count:,} parameters, {len(trainer.batches.pictures)} pictures")
    while trainer.step < recipe.schedule.steps:
        loss = trainer.train_step()
        progress = Progress(trainer.step, loss)
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss became {loss} at step {trainer.step}; the last good checkpoint is kept in {out}.",
                "Lower schedule.lr and go on with --resume.",
            )
        if trainer.step % recipe.log.validate_every == 0 or trainer.step == recipe.schedule.steps:
            psnr = trainer.validate()
            trainer.seconds += time.time() - started
            started = time.time()
            trainer.save(out, psnr)
            progress = Progress(trainer.step, loss, tuple(psnr))
        on_progress(progress)
    return out / "best.safetensors"


class Trainer:
    """Network, average, optimiser and data of one run."""

    def __init__(self, recipe: Recipe, on_note: Callable[[str], None]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        chosen = preset(recipe.preset).config
        self.config = dataclasses.replace(chosen, iterations=recipe.iterations or chosen.iterations)
        self.network: nn.Module = build(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema = get_ema_multi_avg_fn(recipe.optimizer.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=ema)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.schedule.lr,
            betas=(0.9, 0.9),
            weight_decay=recipe.optimizer.weight_decay,
        )
        clean = load_folder(Path(recipe.data.train), recipe.data.crop, on_note)
        self.batches = CropBatches(clean, recipe.degradation, recipe.data.crop, recipe.data.batch, recipe.seed)
        self.val: list[NDArray[np.uint8]] = load_folder(Path(recipe.data.val), self.config.size_multiple, on_note)
        self.step, self.best, self.seconds = 0, -math.inf, 0.0

    def train_step(self) -> float:
        """One optimiser step; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        degraded, clean = self.batches(self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.optimizer.bf16):
            restored = pictures(self.network, degraded, iterations_at(self.recipe, self.step))
        loss = deep_supervision(LOSSES[self.recipe.optimizer.loss], restored, clean)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.optimizer.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.clip)
        value = loss.item()
        if math.isfinite(value):
            self.optimizer.step()
            self.average.update_parameters(self.network)
        self.step += 1
        return value

    def validate(self) -> list[float]:
        """PSNR (dB) of the averaged weights on the validation pictures, for N = 1..largest."""
        network, sigma = self.average.module, self.recipe.log.sigma
        return validation_psnr(network, self.config, self.val, sigma, self.recipe.schedule.iterations)

    def save(self, out: Path, psnr: list[float]) -> None:
        """Writes the resume state, `last.safetensors`, perhaps `best.safetensors`, and a line of `log.jsonl`."""
        checkpoint = Checkpoint(
            weights={k: v.contiguous() for k, v in self.average.module.state_dict().items()},
            config=self.config,
            name=self.recipe.name,
            task=self.recipe.task,
            provenance={
                "recipe": json.dumps(self.recipe.portable().to_dict(), sort_keys=True),
                "steps": str(self.step),
                "hours": f"{self.seconds / 3600:.2f}",
                "validation_psnr": json.dumps([round(p, 3) for p in psnr]),
            },
        )
        save_checkpoint(checkpoint, out / "last.safetensors")
        if psnr[-1] > self.best:
            self.best = psnr[-1]
            save_checkpoint(checkpoint, out / "best.safetensors")
        save_state(out / STATE_FILE, self.state())
        line = {"step": self.step, "hours": round(self.seconds / 3600, 3), "psnr": [round(p, 3) for p in psnr]}
        with (out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs; crops and noise are functions of the step."""
        return {
            "recipe": json.dumps(self.recipe.to_dict(), sort_keys=True),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "rng": torch.get_rng_state(),
        }

    def restore(self, path: Path) -> None:
        """Puts a saved state back.

        Raises:
            CheckpointError: no state, or a damaged one.
            ConfigError: the state belongs to another network.
        """
        state = load_state(path)
        before = json.loads(state["recipe"])
        if before["preset"] != self.recipe.preset:
            raise ConfigError(
                f"{path.parent} was trained with the preset {before['preset']!r}, not {self.recipe.preset!r}.",
                "Resume with the same recipe.",
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        rng: Tensor = state["rng"]
        torch.set_rng_state(rng)
