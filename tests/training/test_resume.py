"""A run that was stopped goes on exactly, or says why it cannot."""

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.training.callbacks import Progress
from nafnet_deploy.training.module import RestorationModule
from nafnet_deploy.training.recipe import Recipe
from nafnet_deploy.training.run import train
from nafnet_deploy.training.schedule import learning_rate
from tests.training.conftest import recipe_for


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(pictures)
    losses: dict[str, list[float]] = {"whole": [], "parts": []}

    def collect(name: str) -> Callable[[Progress], None]:
        return lambda p: None if p.scores else losses[name].append(p.loss)

    train(recipe, tmp_path / "whole", on_progress=collect("whole"))

    def interrupt(progress: Progress) -> None:
        collect("parts")(progress)
        if progress.step == 5:  # after the checkpoint of step 3, in the middle of the next stretch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", on_progress=interrupt)
    del losses["parts"][3:]
    train(recipe, tmp_path / "parts", resume=True, on_progress=collect("parts"))
    assert losses["whole"] == losses["parts"]
    whole, parts = (load_checkpoint(tmp_path / k / "last.safetensors").weights for k in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def stopped(recipe: Recipe, out: Path, after: int) -> None:
    """Ends a run by Ctrl-C after so many steps."""

    def stop(progress: Progress) -> None:
        if progress.step == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, out, on_progress=stop)


def test_a_run_that_stops_early_resumes_with_the_patience_of_its_recipe(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, steps=12, every=2)
    recipe = dataclasses.replace(
        recipe,
        schedule=dataclasses.replace(recipe.schedule, lr=1e-12, lr_min=0.0),
        validation=dataclasses.replace(recipe.validation, patience=3),
        optimizer=dataclasses.replace(recipe.optimizer, ema=0.0),
    )
    stopped(recipe, tmp_path, 5)  # after validations at 2 (the best) and 4
    steps: list[int] = []
    train(recipe, tmp_path, resume=True, on_progress=lambda p: steps.append(p.step))
    assert (steps[0], max(steps)) == (5, 8), "validations at 6 and 8 were the second and third without a better score"
    longer = dataclasses.replace(recipe, validation=dataclasses.replace(recipe.validation, patience=10))
    steps.clear()
    train(longer, tmp_path, resume=True, on_progress=lambda p: steps.append(p.step))
    assert max(steps) == 12


@pytest.mark.parametrize("change", [{"accumulate": 2}, {"every": 4}])
def test_epochs_of_another_length_are_validated_to_the_end(
    pictures: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    recipe = recipe_for(pictures, steps=8, every=2)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, ema=0.0, weight_decay=0.1))
    stopped(recipe, tmp_path, 5)  # the state is of step 4
    optimizer = dataclasses.replace(recipe.optimizer, accumulate=change.get("accumulate", 1), weight_decay=0.2)
    validation = dataclasses.replace(recipe.validation, every=change.get("every", 2))
    recipe = dataclasses.replace(recipe, optimizer=optimizer, validation=validation)
    validated: list[int] = []
    train(recipe, tmp_path, resume=True, on_progress=lambda p: validated.append(p.step) if p.scores else None)
    assert validated == ([8] if "every" in change else [6, 8])
    state = torch.load(tmp_path / "last.state", weights_only=True)
    assert state["global_step"] == 8
    weights = {k.removeprefix("network."): v for k, v in state["state_dict"].items()}
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert all(torch.equal(weights[k], v) for k, v in last.weights.items())
    assert {g["weight_decay"] for g in state["optimizer_states"][0]["param_groups"]} == {0.2}


def test_a_run_resumed_without_an_average_goes_on_from_the_weights_in_training(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures)
    train(recipe, tmp_path)
    trained = torch.load(tmp_path / "last.state", weights_only=True)["current_model_state"]
    plan = dataclasses.replace(recipe.schedule, steps=9, lr=1e-12, lr_min=0.0)
    optimizer = dataclasses.replace(recipe.optimizer, ema=0.0)
    train(dataclasses.replace(recipe, schedule=plan, optimizer=optimizer), tmp_path, resume=True)
    for name, weight in load_checkpoint(tmp_path / "last.safetensors").weights.items():
        assert torch.allclose(weight, trained[f"network.{name}"], atol=1e-9)


def test_a_state_between_two_validations_is_refused(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, steps=12, every=2)
    stopped(recipe, tmp_path, 7)
    recipe = dataclasses.replace(recipe, validation=dataclasses.replace(recipe.validation, every=4))
    with pytest.raises(ConfigError, match="stands at step 6"):
        train(recipe, tmp_path, resume=True)


def test_full_disk_leaves_the_previous_checkpoint_whole(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = torch.save, []

    def fills_up(state: object, file: Any, *arguments: Any, **words: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(state, file, *arguments, **words)

    monkeypatch.setattr(torch, "save", fills_up)
    with pytest.raises(CheckpointError, match="No space left"):
        train(recipe_for(pictures), tmp_path)
    monkeypatch.setattr(torch, "save", honest)
    assert not list(tmp_path.glob(".*"))
    steps: list[int] = []
    train(recipe_for(pictures), tmp_path, resume=True, on_progress=lambda p: steps.append(p.step))
    assert steps[0] == 4


def test_lower_rate_is_a_change_that_a_resumed_run_takes_and_another_network_is_not(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(pictures)
    train(recipe, tmp_path)
    notes: list[str] = []
    longer = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, lr=1e-4, steps=9))
    rates: list[float] = []
    honest = RestorationModule.on_train_batch_start

    def watched(module: RestorationModule, *batch: Any) -> None:
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        honest(module, *batch)

    monkeypatch.setattr(RestorationModule, "on_train_batch_start", watched)
    train(longer, tmp_path, resume=True, on_note=notes.append)
    assert rates == [learning_rate(longer, step) for step in (6, 7, 8)]
    assert any("changed" in n and "schedule" in n for n in notes)
    assert load_checkpoint(tmp_path / "last.safetensors").provenance["steps"] == "9"
    with pytest.raises(ConfigError, match="another recipe"):
        train(dataclasses.replace(recipe, preset="light"), tmp_path, resume=True)


@pytest.mark.parametrize("content", [None, b"", b"not a state"])
def test_nothing_to_resume_and_damaged_states_are_told(pictures: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "last.state").write_bytes(content)
    with pytest.raises(CheckpointError):
        train(recipe_for(pictures), tmp_path, resume=True)
