"""Where results of a folder go: a name of its own for each, and never the place of an input."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from PIL import Image

from nafnet_deploy.errors import UsageError
from nafnet_deploy.runtime.batch.jobs import Encoding
from nafnet_deploy.runtime.batch.run import restore_folder
from nafnet_deploy.runtime.batch.storage import FolderPlan
from tests.runtime.batch.conftest import Around, names, restored, save, snapshot


def test_folders_below_keep_their_places_and_results_are_never_inputs(inverting: Around, folder: Path) -> None:
    for name in ("a.png", "x/a.png", "x/y/b.jpg", "x/y/b.txt", ".cache/c.png"):
        save(folder / name) if name != "x/y/b.txt" else (folder / name).write_text("")
    inside, other = folder / "results", folder / "x" / "more"
    assert restored(restore_folder(FolderPlan(folder, folder / "flat"), inverting)) == ["a.png"]
    for out in (inside, other, inside):
        result = restore_folder(FolderPlan(folder, out, recursive=True), inverting)
        assert len(result.restored) + result.before == 3
        assert names(out) == ["a.png", "x/a.png", "x/y/b.jpg"]
    assert result.before == 3


def test_a_folder_of_originals_is_never_written_into(inverting: Around, folder: Path) -> None:
    for name in ("a.png", "2020/a.png", "2020/b.png"):
        save(folder / name)
    before = snapshot(folder)
    for recursive in (True, False):
        with pytest.raises(UsageError, match="lies in the folder of the inputs"):
            restore_folder(FolderPlan(folder, folder / "2020", recursive), inverting)
    assert snapshot(folder) == before
    result = restore_folder(FolderPlan(folder, folder / "2020", skip_existing=True), inverting)
    assert (result.restored, result.skipped) == ((), 1)


def test_no_two_pictures_get_one_name_whatever_came_when(inverting: Around, folder: Path, out: Path) -> None:
    plan = FolderPlan(folder, out, encoding=Encoding("png"))
    values = {"a.jpg": 40, "a.bmp": 80, "a.png": 120}
    for name, value in values.items():
        save(folder / name, value)
        restore_folder(plan, inverting)
    assert restore_folder(plan, inverting).before == 3
    for pattern in ("*.jpg", "*.bmp", "*.png"):
        assert restore_folder(dataclasses.replace(plan, pattern=pattern), inverting).before == 1
    assert names(out) == ["a.bmp.png", "a.jpg.png", "a.png"]
    found = {name: Image.open(out / name).getpixel((0, 0))[0] for name in names(out)}
    assert found == {"a.bmp.png": 175, "a.jpg.png": 215, "a.png": 135}


def test_pictures_whose_results_would_share_a_name_get_their_own(inverting: Around, folder: Path, out: Path) -> None:
    sources = ["a.bmp", "a.gif", "a.png", "a.gif.png", "b.bmp"]
    for i, name in enumerate(sources):
        save(folder / name, 10 * i)
    result = restore_folder(FolderPlan(folder, out), inverting)
    given = {source.name: target.name for source, target in result.restored}
    assert given["a.png"] == "a.png"
    assert given["a.gif.png"] == "a.gif.png"
    assert given["a.bmp"] == "a.bmp.png"
    assert given["b.bmp"] == "b.png"
    assert len(set(given.values())) == len(sources)
    for i, name in enumerate(sources):
        assert Image.open(out / given[name]).convert("L").getpixel((0, 0)) == 255 - 10 * i


@pytest.mark.parametrize("spelling", ["same", "link"])
def test_a_folder_is_never_its_own_output(inverting: Around, folder: Path, tmp_path: Path, spelling: str) -> None:
    save(folder / "a.png")
    before = snapshot(folder)
    out = folder / ".." / "in"
    if spelling == "link":
        out = tmp_path / "link"
        out.symlink_to(folder)
    with pytest.raises(UsageError, match="folder of the inputs"):
        restore_folder(FolderPlan(folder, out), inverting)
    assert snapshot(folder) == before


def test_a_result_never_takes_the_place_of_an_input(inverting: Around, folder: Path) -> None:
    save(folder / "a.png")
    save(folder / "in" / "a.png")
    before = snapshot(folder)
    for pattern in (None, "in/*"):
        with pytest.raises(UsageError, match="among the inputs"):
            restore_folder(FolderPlan(folder, folder.parent, recursive=True, pattern=pattern), inverting)
    assert snapshot(folder) == before


def test_a_link_in_the_output_folder_never_leads_back_to_an_input(inverting: Around, folder: Path, out: Path) -> None:
    out.mkdir()
    os.link(save(folder / "a.png"), out / "a.png")
    save(folder / "b.png")
    before = snapshot(folder)
    result = restore_folder(FolderPlan(folder, out), inverting)
    assert [failure.source.name for failure in result.failed] == ["a.png"]
    assert len(result.restored) == 1
    assert snapshot(folder) == before
