"""Training lowers the loss, writes what was asked for, and survives bad data."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nafnet_deploy import presets
from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.errors import CheckpointError, ConfigError, UsageError
from nafnet_deploy.training import module as training_module
from nafnet_deploy.training.recipe import ScheduleConfig, read_recipe
from nafnet_deploy.training.run import train
from nafnet_deploy.training.schedule import iterations_at, learning_rate
from tests.training.conftest import recipe_for
from tests.training.trainee import TINY


def test_training_beats_the_unchanged_input_and_writes_a_checkpoint_that_loads(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, steps=120, every=120)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, ema=0.9))
    best = train(recipe, tmp_path)
    checkpoint = load_checkpoint(best)
    psnr = json.loads(checkpoint.provenance["validation_psnr"])
    noise_floor = -20 * np.log10(25 / 255)
    assert len(psnr) == 2
    assert min(psnr) > noise_floor + 1
    assert checkpoint.config == TINY
    assert checkpoint.name == "tiny"
    kept = json.loads(checkpoint.provenance["recipe"])
    assert kept["schedule"]["steps"] == 120
    assert kept["data"]["train"] == pictures.name, "a machine's paths stay out of a checkpoint"


def test_corrupt_and_small_pictures_are_skipped_and_named(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(pictures, folder)
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:200])
    Image.new("RGB", (20, 8)).save(folder / "small.png")
    (folder / "text.png").write_text("not a picture")
    notes: list[str] = []
    train(recipe_for(folder), tmp_path / "run", on_note=notes.append)
    assert any("text.png" in n for n in notes)
    assert "small.png is skipped: 20x8 is smaller than 16x16." in notes
    assert any("unreadable" in n for n in notes), "a file whose header is whole is found out when it is decoded"
    assert any("5 training pictures" in n for n in notes)


def test_half_precision_without_a_gpu_is_told(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures)
    optimizer = dataclasses.replace(recipe.optimizer, precision="fp16")
    machine = dataclasses.replace(recipe.machine, accelerator="cpu")
    with pytest.raises(ConfigError, match="precision"):
        train(dataclasses.replace(recipe, optimizer=optimizer, machine=machine), tmp_path)


def test_bfloat16_dropping_rate_and_mixed_losses_train(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures)
    recipe = dataclasses.replace(
        recipe,
        loss={"charbonnier": 1.0, "fft": 0.01, "edge": 0.05},
        schedule=dataclasses.replace(recipe.schedule, decay="step", every=2, random=False, progressive=0.5),
        optimizer=dataclasses.replace(recipe.optimizer, precision="bf16", ema=0.0, accumulate=2),
    )
    losses: list[float] = []
    best = train(recipe, tmp_path, on_progress=lambda p: losses.append(p.loss))
    assert losses[-1] < losses[0]
    assert load_checkpoint(best).config == TINY


def test_training_stops_early_and_keeps_what_was_asked_for(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, steps=12, every=2)
    recipe = dataclasses.replace(
        recipe,
        schedule=dataclasses.replace(recipe.schedule, lr=1e-12, lr_min=0.0),  # nothing is learnt: no better score
        validation=dataclasses.replace(recipe.validation, patience=2, keep_every=4),
        optimizer=dataclasses.replace(recipe.optimizer, ema=0.0),
    )
    steps: list[int] = []
    train(recipe, tmp_path, on_progress=lambda p: steps.append(p.step))
    assert max(steps) < 12
    assert (tmp_path / "step-0000004.safetensors").exists()
    assert not (tmp_path / "step-0000002.safetensors").exists()


def test_tensorboard_holds_scalars_and_sample_pictures(pictures: Path, tmp_path: Path) -> None:
    train(recipe_for(pictures), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert {"loss", "psnr/n1", "psnr/n2", "ssim/n1", "ssim/n2"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("psnr/n2")] == [3, 6]
    shown = events.Images("sample/0")[-1]
    assert (shown.height, shown.width) == (48, 4 * 64), "degraded, N = 1, N = 2, clean"


def test_training_goes_on_from_another_checkpoint_s_weights(pictures: Path, tmp_path: Path) -> None:
    first = train(recipe_for(pictures), tmp_path / "first")
    again = dataclasses.replace(recipe_for(pictures, steps=1), start=str(first))
    again = dataclasses.replace(again, schedule=dataclasses.replace(again.schedule, lr=1e-9, lr_min=0.0))
    weights = load_checkpoint(train(again, tmp_path / "again")).weights
    for name, weight in load_checkpoint(first).weights.items():
        assert (weight - weights[name]).abs().max() < 1e-6


def test_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training_module.deep_supervision
    calls = []

    def breaks(*args: object) -> torch.Tensor:
        calls.append(1)
        loss = honest(*args)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(training_module, "deep_supervision", breaks)
    with pytest.raises(UsageError, match=r"step 5; the last good .* --resume"):
        train(recipe_for(pictures), tmp_path)
    kept = load_checkpoint(tmp_path / "last.safetensors")
    assert kept.provenance["steps"] == "3"
    assert all(bool(torch.isfinite(w).all()) for w in kept.weights.values())


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_a_run_that_diverges_right_before_a_validation_keeps_the_state_of_the_one_before(
    pictures: Path, tmp_path: Path, ema: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(pictures)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, ema=ema))
    monkeypatch.setattr(training_module, "learning_rate", lambda recipe, step: 1e36 if step == 5 else 1e-3)
    with pytest.raises(UsageError, match=r"after step 6; the last good .* --resume"):
        train(recipe, tmp_path)
    assert load_checkpoint(tmp_path / "last.safetensors").provenance["steps"] == "3"
    monkeypatch.setattr(training_module, "learning_rate", lambda recipe, step: 1e-3)
    train(recipe, tmp_path, resume=True)
    assert load_checkpoint(tmp_path / "last.safetensors").provenance["steps"] == "6"


@pytest.mark.parametrize("diverging", [0, 2], ids=["found by the loss", "found by the validation"])
def test_a_run_that_diverges_before_its_first_checkpoint_is_not_told_to_resume(
    pictures: Path, tmp_path: Path, diverging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "learning_rate", lambda recipe, step: 1e36 if step == diverging else 1e-3)
    with pytest.raises(UsageError, match=r"before the first checkpoint.*start anew"):
        train(recipe_for(pictures), tmp_path)
    assert not list(tmp_path.glob("*.s*"))


def test_second_run_never_overwrites_the_first(pictures: Path, tmp_path: Path) -> None:
    train(recipe_for(pictures, steps=1, every=1), tmp_path)
    with pytest.raises(CheckpointError, match=r"already holds a run.*--resume"):
        train(recipe_for(pictures, steps=1, every=1), tmp_path)
    (tmp_path / "last.state").unlink()
    with pytest.raises(CheckpointError, match=r"already holds best.safetensors of a run. Give another folder"):
        train(recipe_for(pictures, steps=1, every=1), tmp_path)


def test_missing_and_empty_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        train(recipe_for(tmp_path / "nowhere"), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no pictures"):
        train(recipe_for(tmp_path / "empty"), tmp_path / "run")


def test_schedule_warms_up_and_ends_at_its_lowest_rate(pictures: Path) -> None:
    recipe = recipe_for(pictures, steps=100, every=100)
    assert learning_rate(recipe, 0) == pytest.approx(1e-3)
    assert learning_rate(recipe, 2) == pytest.approx(2e-3)
    assert learning_rate(recipe, 100) == pytest.approx(1e-6)


def test_a_warm_up_that_outlasts_the_run_is_told(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, steps=2, every=2)
    notes: list[str] = []
    train(recipe, tmp_path / "tiny", on_note=notes.append)
    assert "schedule.warmup = 2 lasts all 2 steps: the learning rate only rises" in notes


def test_progressive_runs_start_with_one_iteration_and_end_with_all(pictures: Path) -> None:
    schedule = ScheduleConfig(steps=1000, iterations=5, progressive=0.5)
    recipe = dataclasses.replace(recipe_for(pictures, every=1000), schedule=schedule)
    assert {iterations_at(recipe, s) for s in range(100)} == {1}
    assert {iterations_at(recipe, s) for s in range(500, 1000)} == {1, 2, 3, 4, 5}


def test_recipe_overrides_and_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\npreset = "light"\n[schedule]\nsteps = 5\n')
    recipe = read_recipe(path, ["schedule.steps=7", "data.train=my pictures", "degradation.sigma=[1, 2]"])
    assert recipe.schedule.steps == 7
    assert recipe.data.train == "my pictures"
    assert recipe.degradation.sigma == (1.0, 2.0)
    for bad in ("schedule.stepz=7", "schedule.steps=-1", "nonsense", "name.x=1", "degradation.sigma=[9, 2]"):
        with pytest.raises(ConfigError):
            read_recipe(path, [bad])


@pytest.mark.parametrize("path", sorted(Path("training").glob("*.toml")), ids=lambda p: p.name)
def test_committed_recipe_reads(path: Path) -> None:
    assert read_recipe(path).preset in presets.PRESETS
