"""Training lowers the loss, resumes exactly, and survives bad data."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nafnet_deploy import presets
from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError, UsageError
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.training import run as training_run
from nafnet_deploy.training.recipe import DataConfig, LogConfig, Recipe, ScheduleConfig, read_recipe
from nafnet_deploy.training.run import Progress, iterations_at, learning_rate, train

TINY = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1,),
    middle_blocks=1,
    decoder_blocks=(1,),
    positions=("middle",),
    iterations=2,
)


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "tiny", presets.Preset(TINY, "denoising", "for tests"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        pixels = natural_batch((1, 3, 48, 64), seed)[0].transpose(1, 2, 0)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


def recipe_for(pictures: Path, steps: int = 6, every: int = 3) -> Recipe:
    return Recipe(
        name="tiny",
        preset="tiny",
        data=DataConfig(train=str(pictures), val=str(pictures), crop=16, batch=2),
        schedule=ScheduleConfig(steps=steps, warmup=2, lr=2e-3, iterations=2),
        log=LogConfig(validate_every=every),
    )


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


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(pictures)
    losses: dict[str, list[float]] = {"whole": [], "parts": []}
    train(recipe, tmp_path / "whole", on_progress=lambda p: losses["whole"].append(p.loss))

    def interrupt(progress: Progress) -> None:
        losses["parts"].append(progress.loss)
        if progress.step == 5:  # after the checkpoint of step 3, in the middle of the next stretch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", on_progress=interrupt)
    del losses["parts"][3:]
    train(recipe, tmp_path / "parts", resume=True, on_progress=lambda p: losses["parts"].append(p.loss))
    assert losses["whole"] == losses["parts"]
    whole, parts = (load_checkpoint(tmp_path / k / "last.safetensors").weights for k in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_corrupt_and_small_pictures_are_skipped_and_named(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(pictures, folder)
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:200])
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    notes: list[str] = []
    recipe = dataclasses.replace(recipe_for(folder, steps=1), log=LogConfig(validate_every=1))
    train(recipe, tmp_path / "run", on_note=notes.append)
    assert any("broken.png" in n for n in notes)
    assert any("small.png" in n and "smaller" in n for n in notes)
    assert any("4 pictures" in n for n in notes)


def test_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training_run.deep_supervision
    calls = []

    def breaks(*args: object) -> torch.Tensor:
        calls.append(1)
        loss = honest(*args)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(training_run, "deep_supervision", breaks)
    with pytest.raises(UsageError, match="step 5"):
        train(recipe_for(pictures), tmp_path)
    kept = load_checkpoint(tmp_path / "last.safetensors")
    assert kept.provenance["steps"] == "3"
    assert all(bool(torch.isfinite(w).all()) for w in kept.weights.values())


def test_second_run_never_overwrites_the_first(pictures: Path, tmp_path: Path) -> None:
    train(recipe_for(pictures, steps=1, every=1), tmp_path)
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(recipe_for(pictures, steps=1, every=1), tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not a state"])
def test_nothing_to_resume_and_damaged_states_are_told(pictures: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "last.state").write_bytes(content)
    with pytest.raises(CheckpointError):
        train(recipe_for(pictures), tmp_path, resume=True)


def test_missing_and_empty_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        train(recipe_for(tmp_path / "nowhere"), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no usable picture"):
        train(recipe_for(tmp_path / "empty"), tmp_path / "run")


def test_schedule_warms_up_and_ends_at_its_lowest_rate(pictures: Path) -> None:
    recipe = recipe_for(pictures, steps=100)
    assert learning_rate(recipe, 0) == pytest.approx(1e-3)
    assert learning_rate(recipe, 2) == pytest.approx(2e-3)
    assert learning_rate(recipe, 100) == pytest.approx(1e-6)


def test_progressive_runs_start_with_one_iteration_and_end_with_all(pictures: Path) -> None:
    schedule = ScheduleConfig(steps=1000, iterations=5, progressive=0.5)
    recipe = dataclasses.replace(recipe_for(pictures), schedule=schedule)
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
