"""What happens around the steps: files, progress, sample pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.errors import CheckpointError, UsageError
from nafnet_deploy.training.module import RestorationModule

STATE_FILE = "last.state"
LOG_EVERY = 50
"""Steps between two points of TensorBoard's loss curve."""
BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run tells after every step."""

    step: int
    """Optimiser steps done."""
    loss: float
    """Loss of this step."""
    scores: tuple[tuple[float, float], ...] = ()
    """Validation PSNR (dB) and SSIM per iteration, only after a validation."""


class Reporter(Callback):
    """Tells progress and skipped pictures, on the first process alone."""

    def __init__(
        self, on_progress: Callable[[Progress], None], on_note: Callable[[str], None], every: int = LOG_EVERY
    ) -> None:
        self.on_progress, self.on_note, self.every = on_progress, on_note, every
        self._told = 0
        self._loss = math.nan
        self._parts: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is done when all parts of its batch are."""
        assert isinstance(pl_module, RestorationModule)
        parts = pl_module.recipe.optimizer.accumulate
        self._parts.append(outputs["loss"].detach())  # Lightning has divided it by the number of parts already
        if len(self._parts) < parts:
            return
        loss = trainer.strategy.reduce(torch.stack(self._parts).sum(), reduce_op="mean")
        self._loss, self._parts = float(loss), []
        if trainer.is_global_zero:
            if trainer.logger is not None and trainer.global_step % self.every == 0:
                trainer.logger.log_metrics({"loss": self._loss}, step=trainer.global_step)
            if pl_module.skipped > self._told:
                self._told = pl_module.skipped
                self.on_note(f"{self._told} unreadable pictures skipped so far")
            self.on_progress(Progress(trainer.global_step, self._loss))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Progress with scores."""
        assert isinstance(pl_module, RestorationModule)
        if trainer.is_global_zero:
            self.on_progress(Progress(trainer.global_step, self._loss, tuple(pl_module.scores)))


class Files(Callback):
    """Writes `best.safetensors`, `last.safetensors`, those kept for good, and the state to resume from.

    Each is written whole under another name and then renamed: a crash or a full disk leaves the previous one. A run
    that has diverged ends with a `UsageError` and writes none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = -math.inf
        self._weights: dict[str, Tensor] = {}
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The clock starts when the first step does."""
        self._since = time.monotonic()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """A loss that is not a number ends the run before it changes a weight."""
        if not math.isfinite(loss.item()):
            raise self._diverged(f"the loss became {loss.item()} at step {trainer.global_step + 1}")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the weights that were validated: the moving average sits in the network until just after this."""
        assert isinstance(pl_module, RestorationModule)
        pl_module.finish_validation()
        if trainer.is_global_zero:
            self._weights = {k: v.detach().cpu().clone() for k, v in pl_module.network.state_dict().items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes all files of this validation."""
        assert isinstance(pl_module, RestorationModule)
        if not pl_module.scores:
            return  # a resumed run ends the epoch that its state was written in once more
        finite = all(bool(weight.isfinite().all()) for weight in pl_module.network.parameters())
        if not finite or any(math.isnan(value) for pair in pl_module.scores for value in pair):
            raise self._diverged(f"the weights or their scores are no numbers after step {trainer.global_step}")
        now = time.monotonic()
        pl_module.seconds += now - self._since
        self._since = now
        better = pl_module.score > self.best
        self.best = max(self.best, pl_module.score)
        if trainer.is_global_zero:
            checkpoint = self._checkpoint(pl_module, trainer)
            names = [LAST_FILE]
            names += [BEST_FILE] * better
            keep = pl_module.recipe.validation.keep_every
            names += [f"step-{trainer.global_step:07d}.safetensors"] * bool(keep and trainer.global_step % keep == 0)
            for name in names:
                save_checkpoint(checkpoint, self.folder / name)
        self._save_state(trainer)

    def _diverged(self, what: str) -> UsageError:
        """The advice depends on whether there is a state to resume."""
        if not (self.folder / STATE_FILE).exists():
            return UsageError(f"{what}, before the first checkpoint.", "Lower schedule.lr and start anew.")
        return UsageError(f"{what}; the last good checkpoint is kept.", "Lower schedule.lr and go on with --resume.")

    def _checkpoint(self, module: RestorationModule, trainer: pl.Trainer) -> Checkpoint:
        recipe = module.recipe
        return Checkpoint(
            weights={name: tensor.contiguous() for name, tensor in self._weights.items()},
            config=module.config,
            name=recipe.name,
            task=recipe.task,
            provenance={
                "recipe": json.dumps(recipe.portable().to_dict(), sort_keys=True),
                "steps": str(trainer.global_step),
                "hours": f"{module.seconds / 3600:.2f}",
                "validation_psnr": json.dumps([round(p, 3) for p, _ in module.scores]),
                "validation_ssim": json.dumps([round(s, 4) for _, s in module.scores]),
            },
        )

    def _save_state(self, trainer: pl.Trainer) -> None:
        """Called by every process, as Lightning demands; the first one writes."""
        path = self.folder / STATE_FILE
        temporary = path.with_name(f".{path.name}.partial")
        try:
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path} cannot be written: {error}.", "The previous state is unharmed; free some space and --resume."
            ) from error


class Samples(Callback):
    """Shows TensorBoard degraded, restored and clean pictures side by side."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One picture per sample."""
        assert isinstance(pl_module, RestorationModule)
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            for index, panels in enumerate(pl_module.samples):
                picture = torch.cat(panels, dim=2)
                trainer.logger.experiment.add_image(f"sample/{index}", picture, trainer.global_step)
