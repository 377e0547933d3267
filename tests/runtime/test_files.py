"""Single files: inputs stay, nothing is half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.errors import EngineError, ImageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.files import default_target, restore_file
from nafnet_deploy.runtime.restorer import Restorer


@pytest.fixture
def restorer(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Restorer:
    """Inverts a picture."""
    return Restorer(numpy_engine(lambda batch: 1 - batch), manifest())


def save(path: Path, value: int = 50, mode: str = "RGB") -> Path:
    Image.new(mode, (9, 7), value if mode == "L" else (value,) * len(mode)).save(path)
    return path


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
