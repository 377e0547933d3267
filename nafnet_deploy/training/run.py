"""A recipe in, checkpoints out; a killed run resumes exactly where it was saved."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger

from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.models.registry import count_parameters
from nafnet_deploy.presets import preset
from nafnet_deploy.training.callbacks import (
    BEST_FILE,
    LAST_FILE,
    LOG_EVERY,
    STATE_FILE,
    Files,
    Progress,
    Reporter,
    Samples,
)
from nafnet_deploy.training.loaders import Loaders, make_loaders
from nafnet_deploy.training.module import RestorationModule
from nafnet_deploy.training.recipe import Recipe

LIGHTNING_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Path:
    """Trains and returns the path of the best checkpoint by validation PSNR at the recommended N.

    Args:
        recipe: what to do.
        out: folder for `best.safetensors`, `last.safetensors`, the state to resume from and TensorBoard's events.
        resume: go on from the state in `out`.
        on_progress: called after every step and every validation, on the first process.
        on_note: called with a line for the user, on the first process.

    Raises:
        ConfigError: an unknown loss, preset or layout, unusable data, settings that the network cannot take, or a state
            of another recipe.
        UsageError: the loss, the weights or their scores are no longer numbers.
        CheckpointError: nothing to resume, a run in `out` that would be overwritten, or a place that cannot be written.
    """
    state = out / STATE_FILE
    with _quiet():
        trainer = _trainer(recipe, out, on_progress, on_note)
        note = on_note if trainer.is_global_zero else lambda line: None
        if resume:
            _check_state(state, recipe, note)
        else:
            _refuse_a_run(out)
        if (plan := recipe.schedule).warmup >= plan.steps:
            note(f"schedule.warmup = {plan.warmup} lasts all {plan.steps} steps: the learning rate only rises")
        torch.manual_seed(recipe.seed)
        chosen = preset(recipe.preset).config
        config = dataclasses.replace(chosen, iterations=recipe.iterations or chosen.iterations)
        if (trained := recipe.schedule.iterations) > 1 and not config.positions:
            raise ConfigError(
                f"schedule.iterations = {trained}: the network {recipe.preset} has no reasoning to repeat.",
                "Set it to 1.",
            )
        module = _Resumable(recipe, config)
        if recipe.start and not resume:
            _start_from(module, recipe.start, note)
        loaders = make_loaders(recipe, config, trainer, note)
        note(f"{recipe.name}: {count_parameters(module.network):,} parameters")
        _make_folder(out)
        _fit(trainer, module, loaders, state if resume else None)
    return out / BEST_FILE


class _Resumable(RestorationModule):
    """The module with what Lightning does not keep by itself."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["nafdeploy"] = {"recipe": self.recipe.portable().to_dict(), "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = checkpoint["nafdeploy"]["seconds"]
        if not self.recipe.optimizer.ema and "current_model_state" in checkpoint:  # `state_dict` holds the average
            checkpoint["state_dict"] = checkpoint["current_model_state"]
        # A state is written at the end of an epoch. It stays at its end where the epochs are longer or shorter now.
        plan, every = self.recipe.schedule, self.recipe.validation.every
        counts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        for name in counts:
            counts[name] = min(every, plan.steps) * self.recipe.optimizer.accumulate


class _Patience(EarlyStopping):
    """Stops after so many validations without a better score; a resumed run may have another patience."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


def _fit(trainer: pl.Trainer, module: RestorationModule, loaders: Loaders, state: Path | None) -> None:
    """Lightning answers Ctrl-C by leaving Python and deaf to the next one; here it stays an interruption."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loaders[0], loaders[1], ckpt_path=state, weights_only=True)
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


def _trainer(
    recipe: Recipe, out: Path, on_progress: Callable[[Progress], None], on_note: Callable[[str], None]
) -> pl.Trainer:
    optimizer, machine, validation = recipe.optimizer, recipe.machine, recipe.validation
    # Order matters: Files takes the averaged weights before the average leaves the network again.
    callbacks: list[Callback] = [
        Reporter(on_progress, on_note, min(LOG_EVERY, validation.every)),
        Files(out),
        Samples(),
    ]
    if optimizer.ema:
        callbacks.append(EMAWeightAveraging(decay=optimizer.ema))
    if validation.patience:
        n = min(recipe.iterations or preset(recipe.preset).config.iterations, recipe.schedule.iterations)
        # asked when the validation ends: before its state is written, and not again when a state is resumed
        settings: dict[str, Any] = {"mode": "max", "patience": validation.patience, "check_on_train_epoch_end": False}
        callbacks.append(_Patience(f"psnr/n{n}", **settings))
    processes = machine.devices * machine.nodes
    try:
        trainer = pl.Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            strategy="ddp" if processes > 1 else "auto",
            precision=LIGHTNING_PRECISIONS[optimizer.precision],  # type: ignore[arg-type]
            max_steps=recipe.schedule.steps,
            accumulate_grad_batches=optimizer.accumulate,
            gradient_clip_val=optimizer.clip or None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # ours gives every step the same crops however many processes there are
            callbacks=callbacks,
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise ConfigError(
            f"this machine cannot train so: {line}", "Change the recipe's machine or precision."
        ) from error
    if optimizer.precision == "fp16" and trainer.strategy.root_device.type == "cpu":  # Lightning would take bf16
        raise ConfigError("a CPU cannot train in the precision fp16.", "Use --set optimizer.precision=bf16")
    return trainer


def _start_from(module: RestorationModule, start: str, on_note: Callable[[str], None]) -> None:
    """Copies the weights that fit by name and shape; the others stay fresh."""
    wanted = module.network.state_dict()
    found = {k: v for k, v in load_model(start).weights.items() if k in wanted and wanted[k].shape == v.shape}
    if not found:
        raise ConfigError(f"no weight of {start} fits the preset {module.recipe.preset}.", "Choose another start.")
    module.network.load_state_dict(found, strict=False)
    on_note(f"{len(found)} of {len(wanted)} tensors start from {Path(start).name}")


def _refuse_a_run(out: Path) -> None:
    """What an earlier run left in `out` is never written over."""
    if (out / STATE_FILE).exists():
        raise CheckpointError(f"{out} already holds a run.", "Go on with --resume, or give another folder with -o.")
    kept = [path for name in (BEST_FILE, LAST_FILE, "step-*.safetensors") for path in out.glob(name)]
    if kept:
        raise CheckpointError(f"{out} already holds {kept[0].name} of a run.", "Give another folder with -o.")


def _check_state(path: Path, recipe: Recipe, on_note: Callable[[str], None]) -> None:
    """A state that can be read and whose network and batches are this recipe's; what else changed is told."""
    if not path.is_file():
        raise CheckpointError(f"there is no {path.name} in {path.parent} to resume.", "Start without --resume.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved, step = state["nafdeploy"]["recipe"], state["global_step"]
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged.", "Start anew without --resume in another folder.") from error
    wanted = recipe.portable().to_dict()
    changed = sorted(k for k in wanted if k != "machine" and saved.get(k) != wanted[k])
    fixed = [k for k in changed if k in ("preset", "seed")]
    if fixed or saved["data"]["batch"] != wanted["data"]["batch"]:
        raise ConfigError(
            f"the state in {path.parent} belongs to another recipe ({', '.join(changed)} differ).",
            "Resume with its own network, seed and batch, or start anew with another -o.",
        )
    if step % (every := recipe.validation.every) and step < recipe.schedule.steps:
        raise ConfigError(
            f"the state in {path.parent} stands at step {step}, where validation.every = {every} has no validation.",
            f"Use a validation.every of which {step} is a multiple.",
        )
    if changed:
        on_note(f"the recipe has changed since the state was written: {', '.join(changed)}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written: {error.strerror}.", "Choose another -o.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's advice off the user's terminal; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
