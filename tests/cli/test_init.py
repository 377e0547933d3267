"""`nafdeploy init`: a project that the other commands can work in."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from nafnet_deploy.data.project import FOLDERS
from tests.cli.conftest import Command, photo, snapshot


def test_a_project_has_its_folders_recipe_and_next_commands(spawn: Command, tmp_path: Path) -> None:
    project = tmp_path / "new" / "project"
    done = spawn("init", project)
    assert (done.code, done.out) == (0, "")
    assert sorted(snapshot(project)) == ["README.txt", "train.toml"]
    assert all((project / name).is_dir() for name in FOLDERS)
    for line in ("nafdeploy degrade CLEAN -o data", "nafdeploy train train.toml", "nafdeploy export runs/model/"):
        assert line in done.err
    tomllib.loads((project / "train.toml").read_text())


def test_the_recipe_reads_the_pairs_that_degrade_makes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clean").mkdir()
    for i in range(3):
        photo(tmp_path / "clean" / f"{i}.png", seed=i)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert command("init", ".").code == 0
    assert command("degrade", "../clean", "-o", "data", "--type", "combined", "--create-paired").code == 0
    from nafnet_deploy.data.pairs import find_pairs

    data = tomllib.loads(Path("train.toml").read_text())["data"]
    assert sum(len(find_pairs(data["layout"], Path(data[split]), split)) for split in ("train", "val")) == 3


def test_the_recipe_is_one_that_train_reads(command: Command, tmp_path: Path) -> None:
    from nafnet_deploy.presets import PRESETS
    from nafnet_deploy.training.recipe import read_recipe

    assert command("init", tmp_path / "project").code == 0
    recipe = read_recipe(tmp_path / "project" / "train.toml")
    assert recipe.data.train == "data/train"
    assert recipe.preset in PRESETS


@pytest.mark.parametrize(
    ("name", "words"),
    [("full", "full is not empty"), ("file", "file is a file"), ("file/project", "cannot be made")],
)
def test_what_is_there_is_never_touched(command: Command, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    command("init", tmp_path / name).refused(2, words, "Give")
    assert snapshot(tmp_path) == before


def test_a_full_disk_leaves_nothing_new(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *args: object, **kwargs: object) -> None:
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    command("init", tmp_path / "a" / "b").refused(2, "No space left on device")
    assert list(tmp_path.iterdir()) == []
