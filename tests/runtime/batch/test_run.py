"""A folder: every picture once, failures collected, inputs untouched, nothing half-written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.batch import pipeline
from nafnet_deploy.runtime.batch.jobs import Encoding
from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS
from nafnet_deploy.runtime.batch.run import restore_folder
from nafnet_deploy.runtime.batch.storage import FolderPlan
from nafnet_deploy.runtime.restorer import Restorer
from tests.runtime.batch.conftest import Around, names, restored, save, snapshot


def test_a_folder_goes_on_after_bad_files(inverting: Around, folder: Path, tmp_path: Path) -> None:
    for name in ("b.png", "d.JPG", "f.tif"):
        save(folder / name)
    (folder / "a.png").write_text("text")
    (folder / "c.jpg").write_bytes((folder / "d.JPG").read_bytes()[:300])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("left by a file manager")
    (folder / "sub.png").mkdir()
    before, seen, out = snapshot(folder), [], tmp_path / "new" / "out"
    result = restore_folder(FolderPlan(folder, out), inverting, lambda p, i, n: seen.append((p.name, i, n)))
    assert restored(result) == ["b.png", "d.JPG", "f.tif"]
    assert [failure.source.name for failure in result.failed] == ["a.png", "c.jpg"]
    assert all(failure.error.message and failure.error.mend for failure in result.failed)
    assert names(out) == ["b.png", "d.JPG", "f.tif"]
    assert all(target.is_file() for _, target in result.restored)
    assert seen == [(name, i, 5) for i, name in enumerate(["in", "a.png", "b.png", "c.jpg", "d.JPG", "f.tif"])]
    assert snapshot(folder) == before
    assert not (out / PARTS).exists()


def test_what_is_done_is_not_done_again(inverting: Around, folder: Path, out: Path) -> None:
    for name in ("a.png", "b.png"):
        save(folder / name)
    (folder / "c.png").write_text("text")
    assert len(restore_folder(FolderPlan(folder, out), inverting).restored) == 2
    first = {name: (out / name).stat() for name in ("a.png", "b.png")}
    save(folder / "c.png")
    again = restore_folder(FolderPlan(folder, out), inverting)
    assert (restored(again), again.before, again.failed) == (["c.png"], 2, ())
    assert {name: (out / name).stat() for name in first} == first
    idle = restore_folder(FolderPlan(folder, out), inverting)
    assert (idle.restored, idle.before, idle.engine) == ((), 3, "")


def test_a_changed_picture_a_lost_result_and_other_options_are_done_anew(
    inverting: Around, folder: Path, out: Path
) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(folder / name)
    plan = FolderPlan(folder, out)
    restore_folder(plan, inverting)
    save(folder / "a.png", 77)
    os.utime(folder / "b.png", ns=(1, 1))
    (out / "c.png").unlink()
    result = restore_folder(plan, inverting)
    assert (restored(result), result.before) == (["a.png", "b.png", "c.png"], 1)
    assert Image.open(out / "a.png").getpixel((0, 0)) == (178, 178, 178)
    inverting.options = "other"
    assert len(restore_folder(plan, inverting).restored) == 4
    assert len(restore_folder(FolderPlan(folder, out, encoding=Encoding(quality=30)), inverting).restored) == 4


def test_skip_existing_leaves_results_of_others_alone(inverting: Around, folder: Path, out: Path) -> None:
    for name in ("a.png", "b.png"):
        save(folder / name)
    save(out / "a.png", 1)
    result = restore_folder(FolderPlan(folder, out, skip_existing=True), inverting)
    assert (restored(result), result.skipped) == (["b.png"], 1)
    assert Image.open(out / "a.png").getpixel((0, 0)) == (1, 1, 1)
    assert restored(restore_folder(FolderPlan(folder, out), inverting)) == ["a.png"]


def test_a_pattern_chooses_by_name_or_path(inverting: Around, folder: Path, tmp_path: Path) -> None:
    for name in ("a_raw.png", "b.png", "x/c_raw.png"):
        save(folder / name)
    for number, (pattern, expected) in enumerate(
        {"*_raw.png": ["a_raw.png", "x/c_raw.png"], "x/*": ["x/c_raw.png"], "b.*": ["b.png"]}.items()
    ):
        plan = FolderPlan(folder, tmp_path / str(number), recursive=True, pattern=pattern)
        restore_folder(plan, inverting)
        assert names(plan.out) == expected
    with pytest.raises(UsageError, match="none of the 3 pictures"):
        restore_folder(FolderPlan(folder, tmp_path / "none", recursive=True, pattern="*.gif"), inverting)
    with pytest.raises(ConfigError, match="impossible"):
        restore_folder(FolderPlan(folder, tmp_path / "none", pattern=""), inverting)
    assert not (tmp_path / "none").exists()


def test_format_and_quality_reach_the_results(inverting: Around, folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpeg", "a.bmp"):
        Image.fromarray(noise).save(folder / name)
    for quality in (20, None):
        plan = FolderPlan(folder, tmp_path / str(quality), encoding=Encoding("jpg", quality))
        assert not restore_folder(plan, inverting).failed
        assert names(plan.out) == ["a.bmp.jpg", "a.jpg", "b.jpeg"] or names(plan.out) == [
            "a.jpg",
            "a.png.jpg",
            "b.jpeg",
        ]
    small, large = ((tmp_path / q / "b.jpeg").stat().st_size for q in ("20", "None"))
    assert small < large / 2
    with pytest.raises(ConfigError, match="gif"):
        restore_folder(FolderPlan(folder, tmp_path / "x", encoding=Encoding("gif")), inverting)


def test_exif_and_colour_profile_are_kept(inverting: Around, folder: Path, out: Path) -> None:
    from PIL import ImageCms

    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (9, 7)).save(folder / "a.jpg", exif=exif, icc_profile=profile)
    restore_folder(FolderPlan(folder, out), inverting)
    with Image.open(out / "a.jpg") as result:
        assert result.getexif()[0x010F] == "Maker"
        assert result.info["icc_profile"] == profile


def test_a_large_picture_takes_the_way_of_a_single_file(
    inverting: Around, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "LARGE", 10)
    for name in ("a.png", "b.jpg", "c.png"):
        save(folder / name)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:45])
    out.mkdir()
    os.link(folder / "b.jpg", out / "b.jpg")
    before = snapshot(folder)
    result = restore_folder(FolderPlan(folder, out), inverting)
    assert restored(result) == ["a.png"]
    assert [failure.source.name for failure in result.failed] == ["b.jpg", "c.png"]
    assert all(PARTS not in failure.error.message for failure in result.failed)
    assert snapshot(folder) == before


def test_an_interrupt_passes_through_and_leaves_whole_files(
    inverting: Around, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        save(folder / f"{number}.png", number)
    restore = Restorer.__call__

    def interrupted(self: Restorer, image: np.ndarray, on_tile: object = None) -> np.ndarray:
        if (out / "0.png").exists():
            raise KeyboardInterrupt
        return restore(self, image, on_tile)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Restorer, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            restore_folder(FolderPlan(folder, out), inverting)
    done = names(out)
    assert done == [f"{number}.png" for number in range(len(done))]
    assert not (out / PARTS).exists()
    result = restore_folder(FolderPlan(folder, out), inverting)
    assert (result.before, len(result.restored)) == (len(done), 9 - len(done))
    assert [Image.open(out / f"{n}.png").getpixel((0, 0))[0] for n in range(9)] == [255 - n for n in range(9)]


def test_a_picture_too_large_for_the_memory_does_not_end_the_folder(
    inverting: Around, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    Image.new("RGB", (16, 16)).save(folder / "b.png")
    restore = Restorer.__call__

    def small_only(self: Restorer, image: np.ndarray, on_tile: object = None) -> np.ndarray:
        if image.shape[0] > 16:
            raise MemoryError
        return restore(self, image, on_tile)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "__call__", small_only)
    result = restore_folder(FolderPlan(folder, out), inverting)
    assert names(out) == ["b.png"]
    (failure,) = result.failed
    assert failure.error.exit_code == 3
    assert "--tile" in failure.error.mend


def test_a_network_that_fails_leaves_no_result(
    numpy_engine: type, manifest: Callable[..., ModelManifest], folder: Path, out: Path
) -> None:
    save(folder / "a.png")
    broken = Around(Restorer(numpy_engine(lambda batch: batch * np.nan), manifest()))
    assert restore_folder(FolderPlan(folder, out), broken).failed[0].error.exit_code == 6
    assert names(out) == []


def test_a_folder_in_the_place_of_a_result_fails_that_picture_alone(inverting: Around, folder: Path, out: Path) -> None:
    for name in ("a.png", "b.png", "x/c.png"):
        save(folder / name)
    (out / "a.png").mkdir(parents=True)
    (out / "x").write_text("in the way")
    result = restore_folder(FolderPlan(folder, out, recursive=True), inverting)
    assert restored(result) == ["b.png"]
    assert len(result.failed) == 2


@pytest.mark.parametrize("kind", ["missing", "file.png", "empty"])
def test_a_folder_without_pictures_is_refused(inverting: Around, tmp_path: Path, kind: str) -> None:
    save(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        restore_folder(FolderPlan(tmp_path / kind, tmp_path / "out"), inverting)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(inverting: Around, folder: Path, tmp_path: Path) -> None:
    save(folder / "a.png")
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ImageError, match="cannot be made"):
            restore_folder(FolderPlan(folder, out), inverting)
    (tmp_path / "odd" / JOURNAL).mkdir(parents=True)
    with pytest.raises(ImageError, match="cannot be written to"):
        restore_folder(FolderPlan(folder, tmp_path / "odd"), inverting)


def test_the_summary_is_plain_json(inverting: Around, folder: Path, out: Path) -> None:
    save(folder / "a.png")
    (folder / "b.png").write_text("text")
    summary = json.loads(json.dumps(restore_folder(FolderPlan(folder, out), inverting).to_json()))
    assert summary["restored"] == [[str(folder / "a.png"), str(out / "a.png")]]
    assert summary["failed"][0]["source"] == str(folder / "b.png")
    assert summary["failed"][0]["code"] == 2
    assert summary["engine"] == "numpy"
