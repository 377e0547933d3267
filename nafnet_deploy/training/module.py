"""One optimiser step and one validation, as Lightning calls them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.data.datasets import Example
from nafnet_deploy.errors import UsageError
from nafnet_deploy.metrics import psnr, ssim
from nafnet_deploy.models.registry import build, pictures
from nafnet_deploy.training.losses import deep_supervision, mixed_loss, never_worse, supervision_weights
from nafnet_deploy.training.recipe import Recipe
from nafnet_deploy.training.schedule import iterations_at, learning_rate
from nafnet_deploy.training.validation import panel, restore_all, views

METRICS = ("psnr", "ssim")


class RestorationModule(pl.LightningModule):
    """A network and how it learns; holds no data."""

    def __init__(self, recipe: Recipe, config: ModelConfig) -> None:
        super().__init__()
        self.recipe, self.config = recipe, config
        self.network: nn.Module = build(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = mixed_loss(recipe.loss)
        self.seconds = 0.0
        """Wall time of training so far, over all resumptions."""
        self.scores: list[tuple[float, float]] = []
        """PSNR (dB) and SSIM per iteration of the last validation."""
        self.skipped = 0
        """Unreadable pictures met so far."""
        self.samples: list[list[Tensor]] = []
        """Per sample picture of the last validation: degraded, restored by each N, clean."""
        self._sums = torch.zeros(0)

    def configure_optimizers(self) -> Any:
        """AdamW with NAFNet's betas, its learning rate a function of the step."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=1.0,  # the factor below is the learning rate itself
            betas=(0.9, 0.9),
            weight_decay=self.recipe.optimizer.weight_decay,
        )
        schedule = LambdaLR(optimizer, lambda step: learning_rate(self.recipe, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed optimiser comes with the settings of its state; the recipe's hold."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["weight_decay"] = self.recipe.optimizer.weight_decay
                group["lr"] = learning_rate(self.recipe, self.global_step)

    def on_train_batch_start(self, batch: Example, batch_idx: int) -> None:
        """Dropout, too, depends on the seed and the place in the run alone, so that a resumed run draws the same."""
        part = batch_idx % self.recipe.optimizer.accumulate
        torch.manual_seed(hash((self.recipe.seed, self.global_step, part, self.global_rank)) % 2**63)

    def training_step(self, batch: Example, batch_idx: int) -> Tensor:
        """The supervised loss of every iteration of this step's N."""
        n = iterations_at(self.recipe, self.global_step)
        restored = pictures(self.network, batch.degraded, n, batch.task)
        plan = self.recipe.schedule
        loss = deep_supervision(self.loss, restored, batch.clean, supervision_weights(n, *plan.supervision))
        if plan.never_worse:
            loss = loss + plan.never_worse * never_worse(self.loss, restored, batch.clean)
        self.skipped += int(batch.skipped)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Empties the sums."""
        self._sums = torch.zeros(2 * self.recipe.schedule.iterations + 1, dtype=torch.float64)
        self.samples = []

    def validation_step(self, batch: Example, batch_idx: int) -> None:
        """PSNR and SSIM of one picture at every N, clipped to [0, 1], over RGB; of a stereo pair their mean."""
        self.skipped += int(batch.skipped)
        if batch.clean.numel() == 0:
            return
        restored = restore_all(self.network, self.config, batch.degraded, self.recipe.schedule.iterations)
        truth = views(batch.clean)
        scores = [
            float(np.mean([metric(one, true) for one, true in zip(views(picture), truth, strict=True)]))
            for picture in restored
            for metric in (psnr, ssim)
        ]
        self._sums += torch.tensor([*scores, 1.0], dtype=torch.float64)
        if len(self.samples) < self.recipe.validation.samples:
            shown = F.interpolate(batch.degraded.float(), batch.clean.shape[2:])  # of the same size beside the others
            self.samples.append([panel(p) for p in (shown, *restored, batch.clean)])

    def finish_validation(self) -> None:
        """Means over all pictures of all processes, into `scores` and the log.

        Raises:
            UsageError: not one validation picture can be read.
        """
        total = self.trainer.strategy.reduce(self._sums.clone().to(self.device), reduce_op="sum")
        values = total.cpu().double().numpy() if isinstance(total, Tensor) else np.asarray(total)
        if values[-1] == 0:
            raise UsageError("none of the validation pictures can be read.", "Check data.val.")
        means = values[:-1] / values[-1]
        self.scores = [(float(p), float(s)) for p, s in means.reshape(-1, 2)]
        named = {
            f"{name}/n{n}": value
            for n, pair in enumerate(self.scores, 1)
            for name, value in zip(METRICS, pair, strict=True)
        }
        self.log_dict(named, logger=False)  # for early stopping; all processes hold the same means by now
        if self.trainer.logger is not None:
            self.trainer.logger.log_metrics(named, step=self.global_step)

    @property
    def score(self) -> float:
        """Validation PSNR (dB) at the N that the checkpoint recommends, or at the largest that is trained."""
        return self.scores[min(self.config.iterations, len(self.scores)) - 1][0]
