"""Files and folders: inputs stay, failures are collected, nothing is half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.errors import EngineError, ImageError, UsageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.folder import default_target, restore_file, restore_folder
from nafnet_deploy.runtime.restorer import Restorer


@pytest.fixture
def restorer(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Restorer:
    """Inverts a picture."""
    return Restorer(numpy_engine(lambda batch: 1 - batch), manifest())


def save(path: Path, value: int = 50, mode: str = "RGB") -> Path:
    Image.new(mode, (9, 7), value if mode == "L" else (value,) * len(mode)).save(path)
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_file_is_restored_in_the_mode_of_its_source(restorer: Restorer, tmp_path: Path, mode: str) -> None:
    source = save(tmp_path / "in.png", 50, mode)
    restore_file(restorer, source, tmp_path / "out.png")
    result = np.asarray(Image.open(tmp_path / "out.png").convert("RGBA"))
    assert Image.open(tmp_path / "out.png").mode == mode
    assert (result[..., :3] == 205).all()
    assert (result[..., 3] == (50 if mode == "RGBA" else 255)).all()


def test_a_network_that_counts_from_other_values_gets_them(
    numpy_engine: type, manifest: Callable[..., ModelManifest], tmp_path: Path
) -> None:
    engine = numpy_engine(lambda batch: 255 - batch)
    restore_file(Restorer(engine, manifest(value_range=(0.0, 255.0))), save(tmp_path / "in.png"), tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").getpixel((3, 3)) == (205, 205, 205)


def test_a_bad_target_is_refused_before_the_work(
    numpy_engine: type, manifest: Callable[..., ModelManifest], tmp_path: Path
) -> None:
    engine = numpy_engine(lambda batch: batch)
    with pytest.raises(ImageError):
        restore_file(Restorer(engine, manifest()), save(tmp_path / "in.png"), tmp_path / "out.xyz")
    assert engine.seen == []


def test_a_failing_network_writes_nothing(
    numpy_engine: type, manifest: Callable[..., ModelManifest], tmp_path: Path
) -> None:
    engine = numpy_engine(lambda batch: batch * np.nan)
    with pytest.raises(EngineError):
        restore_file(Restorer(engine, manifest()), save(tmp_path / "in.png"), tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_a_folder_goes_on_after_bad_files(restorer: Restorer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.png", "d.JPG", "f.tif"):
        save(folder / name)
    (folder / "a.png").write_text("text")
    (folder / "c.jpg").write_bytes((folder / "d.JPG").read_bytes()[:300])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("left by a file manager")
    (folder / "sub.png").mkdir()
    before, seen = snapshot(folder), []
    result = restore_folder(restorer, folder, tmp_path / "new" / "out", lambda p, i, n: seen.append((p.name, i, n)))
    assert [source.name for source, _ in result.restored] == ["b.png", "d.JPG", "f.tif"]
    assert [failure.source.name for failure in result.failed] == ["a.png", "c.jpg"]
    assert all(failure.error.message and failure.error.mend for failure in result.failed)
    assert sorted(snapshot(tmp_path / "new" / "out")) == ["b.png", "d.JPG", "f.tif"]
    assert all(target.is_file() for _, target in result.restored)
    assert seen == [(name, i, 5) for i, name in enumerate(["a.png", "b.png", "c.jpg", "d.JPG", "f.tif"], 1)]
    assert snapshot(folder) == before


def test_pictures_whose_results_would_share_a_name_get_their_own(restorer: Restorer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sources = ["a.bmp", "a.gif", "a.png", "a.gif.png", "b.bmp"]
    for i, name in enumerate(sources):
        save(folder / name, 10 * i)
    result = restore_folder(restorer, folder, tmp_path / "out")
    names = {source.name: target.name for source, target in result.restored}
    assert names["a.png"] == "a.png"
    assert names["a.gif.png"] == "a.gif.png"
    assert names["a.bmp"] == "a.bmp.png"
    assert names["b.bmp"] == "b.png"
    assert len(set(names.values())) == len(sources)
    for i, name in enumerate(sources):
        assert Image.open(tmp_path / "out" / names[name]).convert("L").getpixel((0, 0)) == 255 - 10 * i


@pytest.mark.parametrize("spelling", ["same", "link"])
def test_a_folder_is_never_its_own_output(restorer: Restorer, tmp_path: Path, spelling: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "a.png")
    before = snapshot(folder)
    out = folder / ".." / "in"
    if spelling == "link":
        out = tmp_path / "link"
        out.symlink_to(folder)
    with pytest.raises(UsageError, match="folder of the inputs"):
        restore_folder(restorer, folder, out)
    assert snapshot(folder) == before


def test_a_link_in_the_output_folder_never_leads_back_to_an_input(restorer: Restorer, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    os.link(save(folder / "a.png"), out / "a.png")
    save(folder / "b.png")
    before = snapshot(folder)
    result = restore_folder(restorer, folder, out)
    assert [failure.source.name for failure in result.failed] == ["a.png"]
    assert len(result.restored) == 1
    assert snapshot(folder) == before


def test_an_interrupt_passes_through_and_leaves_whole_files(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        save(folder / name)
    save_image = Image.Image.save

    def interrupted(self: Image.Image, file: object, **options: object) -> None:
        if list(out.glob("a.png")):
            file.write(b"half")  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        save_image(self, file, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore_folder(restorer, folder, out)
    assert [p.name for p in out.iterdir()] == ["a.png"]
    Image.open(out / "a.png").load()


def test_a_picture_too_large_for_the_memory_does_not_end_the_folder(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    Image.new("RGB", (16, 16)).save(folder / "b.png")
    restore = Restorer.__call__

    def small_only(self: Restorer, image: np.ndarray, on_tile: object = None) -> np.ndarray:
        if image.shape[0] > 16:
            raise MemoryError
        return restore(self, image, on_tile)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "__call__", small_only)
    result = restore_folder(restorer, folder, out)
    assert [p.name for p in out.iterdir()] == ["b.png"]
    (failure,) = result.failed
    assert failure.error.exit_code == 3
    assert "--tile" in failure.error.mend


@pytest.mark.parametrize("folder", ["missing", "file.png", "empty"])
def test_a_folder_without_pictures_is_refused(restorer: Restorer, tmp_path: Path, folder: str) -> None:
    save(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        restore_folder(restorer, tmp_path / folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(restorer: Restorer, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ImageError, match="cannot be made"):
            restore_folder(restorer, tmp_path, out)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("photo.jpg", "photo_restored.jpg"),
        ("photo.JPG", "photo_restored.JPG"),
        ("scan.v2.tiff", "scan.v2_restored.tiff"),
        ("old.bmp", "old_restored.png"),
        ("anim.gif", "anim_restored.png"),
        ("nosuffix", "nosuffix_restored.png"),
    ],
)
def test_default_names(tmp_path: Path, source: str, target: str) -> None:
    assert default_target(tmp_path / source) == tmp_path / target


def test_the_default_name_of_a_folder_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos.2024"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert default_target(folder) == default_target(Path()) == tmp_path / "photos.2024_restored"


@pytest.mark.slow
def test_fifty_megapixels_are_restored(restorer: Restorer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (58, 87, 3), dtype=np.uint8))
    small.resize((8700, 5800), Image.Resampling.BICUBIC).save(tmp_path / "in.jpg", quality=95)
    restore_file(restorer, tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.size == (8700, 5800)
        boxes = [np.asarray(i.crop((4000, 3000, 4200, 3200)), np.float32) for i in (before, after)]
    assert np.abs(255 - boxes[0] - boxes[1]).mean() < 1.5
