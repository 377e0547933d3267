"""The data of a recipe, in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Subset

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.data.bank import PictureBank, large_enough
from nafnet_deploy.data.datasets import CropDataset, StepSampler, ValidationDataset, collate
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.pairs import Pair, find_pairs
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.metrics import WINDOW as SSIM_WINDOW
from nafnet_deploy.training.recipe import Recipe

Loaders = tuple[DataLoader[Any], DataLoader[Any]]


def make_loaders(recipe: Recipe, config: ModelConfig, trainer: pl.Trainer, on_note: Callable[[str], None]) -> Loaders:
    """The batches to train on and the pictures to validate with, the share of this process.

    Args:
        recipe: what to train.
        config: the network.
        trainer: knows where training stands and how many processes there are.
        on_note: told in a line what is left out, and how many pictures there are.

    Raises:
        ConfigError: pictures that are missing, do not fit the network, are all too small, or too few for the
            processes; crops that the network or SSIM cannot take; damage for a network that enlarges.
    """
    data, validation = recipe.data, recipe.validation
    processes = trainer.world_size
    train_pairs, val_pairs = _find_both(recipe, config, on_note)
    measurable = -(-SSIM_WINDOW // config.scale)
    _check_settings(recipe, config, measurable)
    crops = large_enough(train_pairs, data.crop * config.scale, on_note)
    whole = large_enough(val_pairs, max(config.size_multiple, measurable) * config.scale, on_note)
    shown = _spread(whole, validation.pictures or len(whole))
    if len(shown) < processes:
        raise ConfigError(
            f"{len(shown)} validation pictures do not suffice for {processes} processes.",
            "Give more with data.val or validation.pictures, or fewer machine.devices.",
        )
    per_epoch = min(validation.every, recipe.schedule.steps) * data.batch
    on_note(f"{len(crops)} training pictures, {len(shown)} for validation")
    train = CropDataset(
        PictureBank(crops, data.cache, config.scale),
        recipe.degradation,
        data.crop,
        recipe.seed,
        recipe.schedule.steps * data.batch,
        data.order,
        data.told if config.expert else 0.0,
    )
    measured = ValidationDataset(
        PictureBank(shown, data.cache, config.scale),
        validation.degradation or recipe.degradation,
        validation.crop,
        recipe.seed,
    )
    settings: dict[str, Any] = {"num_workers": data.workers, "collate_fn": collate}
    if data.workers:
        settings |= {"persistent_workers": True}
    return (
        DataLoader(
            train,
            batch_size=data.batch // (recipe.optimizer.accumulate * processes),
            sampler=StepSampler(per_epoch, lambda: trainer.global_step * data.batch, trainer.global_rank, processes),
            **settings,
        ),
        DataLoader(Subset(measured, range(trainer.global_rank, len(measured), processes)), batch_size=1, **settings),
    )


def _find_both(recipe: Recipe, config: ModelConfig, on_note: Callable[[str], None]) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and to validate with; what is wrong with either comes in one message."""
    data = recipe.data
    found: list[list[Pair]] = []
    errors: list[ConfigError] = []
    for folder, split in ((data.train, "train"), (data.val, "val")):
        try:
            found.append(find_pairs(data.layout, Path(folder), split, data.tasks, on_note, config.scale, config.views))
        except ConfigError as error:
            errors.append(error)
    if errors:
        messages, mends = (dict.fromkeys(getattr(e, part) for e in errors) for part in ("message", "mend"))
        raise ConfigError(" ".join(messages), " ".join(mends))
    return found[0], found[1]


def _check_settings(recipe: Recipe, config: ModelConfig, measurable: int) -> None:
    """What of the recipe this network cannot be given; `measurable` is the smallest input whose result has an SSIM."""
    crop, shown = recipe.data.crop, recipe.validation.crop
    if crop % config.size_multiple:
        raise ConfigError(
            f"data.crop = {crop} is no multiple of {config.size_multiple}, as the network {recipe.preset} needs.",
            f"Use {round_up(crop, config.size_multiple)}.",
        )
    if 0 < shown < measurable:
        raise ConfigError(
            f"validation.crop = {shown} is too small for SSIM's window of {SSIM_WINDOW} pixels.",
            f"Use {measurable} or more, or 0 for whole pictures.",
        )
    if config.scale > 1 and (recipe.degradation != Degradation() or recipe.validation.degradation):
        raise ConfigError(
            f"the network {recipe.preset} enlarges: its pictures are shrunk, and [degradation] does nothing.",
            "Take degradation and validation.degradation out of the recipe.",
        )


def _spread(pairs: list[Pair], count: int) -> list[Pair]:
    """The first pictures of each task in turn, in the order of the tasks and names."""
    places: Counter[str] = Counter()
    ranks = []
    for pair in pairs:
        ranks.append(places[pair.task])
        places[pair.task] += 1
    chosen = sorted(range(len(pairs)), key=lambda i: (ranks[i], i))[:count]
    return [pairs[i] for i in sorted(chosen)]
