"""Every committed recipe of a study starts on data that lies as it says, and says what is missing when it does not."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nafnet_deploy import presets
from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.cli import execute
from nafnet_deploy.data.layouts import CDD_11
from nafnet_deploy.data.pairs import Pair
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.training.loaders import _spread
from nafnet_deploy.training.recipe import read_recipe
from nafnet_deploy.training.run import train
from tests.data.folders import photo
from tests.training.trainee import TINY
from tests.variants import ALL_IN_ONE, PLAIN, STEREO

SMALL = {
    "aio": dataclasses.replace(ALL_IN_ONE, refinement_blocks=0),
    "tiny": TINY,
    "x2": dataclasses.replace(TINY, scale=2),
    "stereo": dataclasses.replace(STEREO, scale=4),
    "plain": PLAIN,
}
PARTS = {
    "denoising/BSD400": ("",),
    "denoising/WED": ("",),
    "deraining/Rain100L": ("rainy", "gt"),
    "dehazing/SOTS": ("hazy", "gt"),
    "deblurring/GoPro": ("blur", "sharp"),
    "lol/LOL-v1": ("low", "high"),
}
QUICK = (
    *("schedule.steps=2", "schedule.warmup=1", "validation.every=2", "validation.crop=16", "data.crop=16"),
    *("data.batch=2", "optimizer.accumulate=1", 'optimizer.precision="32"'),
)


@pytest.fixture(autouse=True)
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in SMALL.items():
        monkeypatch.setitem(presets.PRESETS, name, presets.Preset(config, "", "for tests"))


def start(recipe: str, network: str, out: Path, *overrides: str) -> int:
    """`nafdeploy train` for two steps with a small network; its exit code."""
    changes = [f"preset={network}", *QUICK, *overrides]
    return execute(["train", f"training/{recipe}.toml", "-o", str(out), *(w for c in changes for w in ("--set", c))])


def all_in_one(root: Path) -> None:
    for part, kinds in PARTS.items():
        for kind in kinds:
            photo(root / "train" / part / kind / "1.png", (40, 32))
            photo(root / "test" / part.split("/")[-1] / kind / "1.png", (40, 32))
    photo(root / "test/BSD68/1.png", (40, 32))


@pytest.mark.parametrize("recipe", ["aio-3", "aio-5", "aio-5-finetune"])
def test_all_in_one_recipes_start(recipe: str, tmp_path: Path) -> None:
    all_in_one(tmp_path)
    changes = [f"data.train={tmp_path}", f"data.val={tmp_path}", "loss.perceptual=0"]
    if recipe == "aio-5-finetune":
        start("aio-3", "aio", tmp_path / "first", *changes)
        changes.append(f"start={tmp_path / 'first' / 'best.safetensors'}")
    assert start(recipe, "aio", tmp_path / "run", *changes) == 0
    checkpoint = load_checkpoint(tmp_path / "run/best.safetensors")
    assert (checkpoint.config.expert, checkpoint.task) == ("infer", "restoration")
    assert checkpoint.provenance["steps"] == "2"


def test_a_step_of_aio_5_reaches_experts_and_router(tmp_path: Path) -> None:
    all_in_one(tmp_path)
    changes = [f"data.train={tmp_path}", f"data.val={tmp_path}", "loss.perceptual=0", "data.batch=8", "optimizer.ema=0"]
    changes.append('data.order="together"')
    start("aio-5", "aio", tmp_path / "run", *changes)
    trained = load_checkpoint(tmp_path / "run/last.safetensors").weights
    torch.manual_seed(0)
    fresh = presets.PRESETS["aio"].config
    from nafnet_deploy.models.registry import build

    unchanged = [k for k, w in build(fresh).state_dict().items() if torch.equal(w, trained[k])]
    assert unchanged == []


def test_cdd_11_starts_with_one_clear_folder_for_eleven_degradations(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind in ("clear", *CDD_11):
            photo(tmp_path / split / kind / "1.png", (40, 32))
    notes: list[str] = []
    changes = ("preset=aio", f"data.train={tmp_path}", f"data.val={tmp_path}", "loss.perceptual=0", *QUICK)
    train(read_recipe(Path("training/cdd-11.toml"), changes), tmp_path / "run", on_note=notes.append)
    assert "11 training pictures, 11 for validation" in notes


def test_validation_pictures_are_of_every_task(tmp_path: Path) -> None:
    pairs = [Pair(tmp_path / f"{task}{i}.png", task=task) for task in ("a", "b") for i in range(4)]
    pairs.append(Pair(tmp_path / "c.png", task="c"))
    assert [p.clean.stem for p in _spread(pairs, 5)] == ["a0", "a1", "b0", "b1", "c"]
    assert _spread(pairs, 2) == [pairs[0], pairs[4]]
    assert _spread(pairs, 99) == pairs


@pytest.mark.parametrize(
    "change",
    [
        *(
            "seed=-1",
            f"seed={2**64}",
            "iterations=0",
            "schedule.lr=1e-8",
            "optimizer.weight_decay=-1.0",
            "optimizer.clip=-1.0",
            "machine.devices=0",
            "machine.nodes=0",
        ),
        *(f"validation.{name}=-1" for name in ("crop", "pictures", "samples", "patience", "keep_every")),
    ],
)
def test_impossible_values_are_refused_before_anything_starts(change: str) -> None:
    with pytest.raises(ConfigError, match=change.split("=")[0].split(".")[0]):
        read_recipe(Path("training/denoising.toml"), [change])


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            "aio-3",
            ["denoising/BSD400 (clean pictures)", "deraining/Rain100L (rainy and gt)", "dehazing/SOTS (hazy and"],
        ),
        ("aio-5", ["deblurring/GoPro (blur and sharp)", "lol/LOL-v1 (low and high)", "BSD68 (clean pictures)"]),
        ("cdd-11", ["clear (pictures)", "low_haze_snow (pictures)"]),
    ],
)
def test_missing_data_is_named_in_one_message(
    recipe: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"data.{split}={tmp_path / 'nowhere'}" for split in ("train", "val")]
    assert start(recipe, "aio", tmp_path / "run", *places, "loss.perceptual=0") == 2
    told = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in told
    assert not (tmp_path / "run").exists()


def test_super_resolution_starts_on_small_and_large_pictures(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photo(tmp_path / split / "hr/0001.png", (80, 64))
        photo(tmp_path / split / "lr/x2/0001x2.png", (40, 32))
    places = [f"data.train={tmp_path / 'train'}", f"data.val={tmp_path / 'val'}"]
    assert start("super-resolution", "x2", tmp_path / "run", *places, "schedule.iterations=2") == 0
    assert load_checkpoint(tmp_path / "run/best.safetensors").config.scale == 2


def test_small_pictures_are_made_where_there_are_none(tmp_path: Path) -> None:
    photo(tmp_path / "1.png", (81, 67))
    photo(tmp_path / "2.png", (81, 11))  # cut to a multiple of 2 it would be too small for SSIM
    places = [f"data.train={tmp_path}", f"data.val={tmp_path}", "data.layout=clean"]
    assert start("super-resolution", "x2", tmp_path / "run", *places, "schedule.iterations=2") == 0


@pytest.mark.parametrize("flat", [True, False], ids=["Flickr1024", "small ones given"])
def test_stereo_starts_on_left_and_right_views(flat: bool, tmp_path: Path) -> None:
    for view in ("0001_L.png", "0001_R.png"):
        photo(tmp_path / "data" / ("" if flat else "hr") / view, (160, 96))
        if not flat:
            photo(tmp_path / "data/lr/x4" / view, (40, 24))
    places = [f"data.{split}={tmp_path / 'data'}" for split in ("train", "val")]
    assert start("nafssr", "stereo", tmp_path / "run", *places) == 0
    checkpoint = load_checkpoint(tmp_path / "run/best.safetensors")
    assert checkpoint.config.views == 2
    assert len(json.loads(checkpoint.provenance["validation_psnr"])) == 1


@pytest.mark.parametrize(
    ("network", "layout", "words"),
    [
        ("x2", "paired", "has no small pictures"),
        ("stereo", "clean", "holds single pictures, which this network does not take"),
        ("plain", "stereo", "holds stereo pairs, which this network does not take"),
        ("plain", "super-resolution", "is for networks that enlarge"),
        ("x2", "super-resolution", "lacks hr, lr/x2"),
    ],
)
def test_a_layout_that_does_not_fit_the_network_is_refused(
    network: str, layout: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(tmp_path / "a.png")
    places = [f"data.train={tmp_path}", f"data.val={tmp_path}", f"data.layout={layout}", "schedule.iterations=1"]
    assert start("denoising", network, tmp_path / "run", *places) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("network", "change", "words"),
    [
        ("plain", "data.crop=50", "data.crop = 50 is no multiple of 4, as the network plain needs. Use 52."),
        ("tiny", "validation.crop=10", "validation.crop = 10 is too small .* Use 11 or more, or 0"),
        ("x2", "validation.crop=5", "validation.crop = 5 is too small .* Use 6 or more, or 0"),
        (
            "plain",
            "schedule.iterations=2",
            "schedule.iterations = 2: the network plain has no reasoning .* Set it to 1",
        ),
        ("x2", "degradation.type=blur", r"the network x2 enlarges: .* \[degradation\] does nothing"),
        ("x2", "validation.degradation.type=blur", r"the network x2 enlarges: .* \[degradation\] does nothing"),
    ],
)
def test_settings_that_the_network_cannot_take_are_refused_before_the_first_step(
    network: str, change: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "1.png", (96, 80))
    places = [f"data.train={tmp_path}", f"data.val={tmp_path}", "data.layout=clean", "schedule.iterations=1"]
    assert start("super-resolution", network, tmp_path / "run", *places, change) == 2
    assert re.search(words, " ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "run").exists()


def test_presets_of_recipes_have_data_of_their_kind() -> None:
    for path in Path("training").glob("*.toml"):
        recipe = read_recipe(path)
        config = presets.preset(recipe.preset).config
        assert (config.views == 2) == (recipe.data.layout == "stereo"), path
        assert (config.scale > 1) == (recipe.data.layout in ("super-resolution", "stereo")), path
