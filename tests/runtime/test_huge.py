"""Restored in parts, a picture is the one restored in memory, whole or not there at all, within the memory given."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

import nafnet_deploy.images.encoding as encoding
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.errors import ConfigError, EngineError, ImageError, MissingDependency, UsageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.windows import open_rows
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.files import restore_file
from nafnet_deploy.runtime.huge import in_parts, restore_in_parts
from nafnet_deploy.runtime.memory import resident_memory
from nafnet_deploy.runtime.restorer import Restorer

Make = Callable[..., ModelManifest]
RNG = np.random.default_rng(3)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SHAPE = (157, 203)


def noise(*more: int, deep: bool = False) -> np.ndarray:
    return RNG.integers(0, 65536 if deep else 256, (*SHAPE, *more), np.uint16 if deep else np.uint8)


def tiff(path: Path, samples: np.ndarray, **options: object) -> Path:
    kind = "rgb" if samples.ndim == 3 else "minisblack"
    tifffile.imwrite(path, samples, photometric=kind, metadata=None, **options)
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "tiled TIFF": lambda folder: tiff(folder / "a.tif", noise(3), tile=(64, 48)),
    "striped TIFF": lambda folder: tiff(folder / "a.tif", noise(3), rowsperstrip=7),
    "one strip": lambda folder: tiff(folder / "a.tif", noise(3), rowsperstrip=SHAPE[0]),
    "16-bit TIFF": lambda folder: tiff(folder / "a.tif", noise(3, deep=True), tile=(64, 64)),
    "16-bit grey TIFF": lambda folder: tiff(folder / "a.tif", noise(deep=True), tile=(64, 64)),
    "alpha TIFF": lambda folder: tiff(folder / "a.tif", noise(4), extrasamples=["unassalpha"]),
    "white is zero, 16 bits": lambda folder: inverse(folder / "a.tif", noise(deep=True)),
    "padded TIFF": lambda folder: tiff(folder / "a.tif", noise(4), extrasamples=["unspecified"]),
    "BigTIFF": lambda folder: tiff(folder / "a.tif", noise(3), bigtiff=True, rowsperstrip=20),
    "LZW TIFF": lambda folder: pillow(folder / "a.tif", noise(3), compression="tiff_lzw"),
    "PNG": lambda folder: pillow(folder / "a.png", noise(3)),
    "grey PNG": lambda folder: pillow(folder / "a.png", noise()),
    "alpha PNG": lambda folder: pillow(folder / "a.png", noise(4)),
    "grey and alpha PNG": lambda folder: pillow(folder / "a.png", noise(2)),
    "palette PNG": lambda folder: palette(folder / "a.png"),
}


def inverse(path: Path, samples: np.ndarray) -> Path:
    tifffile.imwrite(path, samples, photometric="miniswhite", metadata=None)
    return path


def pillow(path: Path, samples: np.ndarray, **options: object) -> Path:
    Image.fromarray(samples).save(path, **options)
    return path


def palette(path: Path) -> Path:
    Image.fromarray(noise(3)).quantize(32).save(path)
    return path


@pytest.fixture
def blur(blur_engine: OnnxRuntimeEngine, manifest: Make) -> Restorer:
    """A real session of a 3x3 mean, in tiles that are no divisors of the picture."""
    return Restorer(blur_engine, manifest(), tile=48, overlap=16)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_parts_give_the_same_file_as_the_picture_in_memory(
    blur: Restorer, tmp_path: Path, kind: str, suffix: str
) -> None:
    source = SOURCES[kind](tmp_path)
    parts, whole = tmp_path / f"parts{suffix}", tmp_path / f"whole{suffix}"
    restore_in_parts(blur, source, parts)
    assert not in_parts(blur, source)
    restore_file(blur, source, whole)
    a, b = Image.open(parts), Image.open(whole)
    assert (a.mode, a.size) == (b.mode, b.size)
    first, second = read_picture(parts), read_picture(whole)
    assert first.bits == second.bits
    assert np.array_equal(first.pixels, second.pixels)
    assert (first.alpha is None) == (second.alpha is None)
    assert first.alpha is None or np.array_equal(first.alpha, second.alpha)


def test_jpeg_differs_by_its_decoder_alone(blur: Restorer, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    Image.fromarray(noise(3)).resize((300, 200), Image.Resampling.BICUBIC).save(source, quality=95)
    restore_in_parts(blur, source, tmp_path / "a.png")
    restore_file(blur, source, tmp_path / "b.png")
    a, b = (read_picture(tmp_path / name).pixels for name in ("a.png", "b.png"))
    assert np.abs(a - b).max() <= 3 / 255


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_profile_exif_resolution_and_orientation_are_kept(
    blur: Restorer, tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "maker"
    exif.get_ifd(34665)[33434] = 0.5
    source = tmp_path / "a.jpg"
    Image.fromarray(noise(3)).save(source, quality=100, subsampling=0, exif=exif, icc_profile=PROFILE, dpi=(300, 300))
    target = tmp_path / f"b{suffix}"
    restore_in_parts(blur, source, target)
    restore_file(blur, source, tmp_path / f"whole{suffix}")
    got, whole = read_picture(target), read_picture(tmp_path / f"whole{suffix}")
    assert got.pixels.shape == whole.pixels.shape
    assert np.abs(got.pixels - whole.pixels).max() <= 3 / 255
    assert got.icc == PROFILE
    assert got.dpi == pytest.approx((300, 300), abs=0.1)
    assert got.exif == whole.exif
    with Image.open(target) as image:
        assert image.getexif()[271] == "maker"
        assert image.getexif().get_ifd(34665)[33434] == 0.5
        assert image.getexif().get(274, 1) == 1


def test_an_orientation_that_xmp_alone_holds_is_applied(blur: Restorer, tmp_path: Path) -> None:
    words = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>"
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg", quality=100, subsampling=0, xmp=words)
    restore_in_parts(blur, tmp_path / "a.jpg", tmp_path / "b.png")
    restore_file(blur, tmp_path / "a.jpg", tmp_path / "whole.png")
    got, whole = read_picture(tmp_path / "b.png"), read_picture(tmp_path / "whole.png")
    assert got.pixels.shape == (*SHAPE[::-1], 3)
    assert np.abs(got.pixels - whole.pixels).max() <= 3 / 255


def test_a_picture_beyond_classic_tiff_becomes_a_bigtiff_with_tiles(
    blur: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[271] = "maker"
    exif.get_ifd(34665)[33434] = 0.5
    source = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (300, 520, 3), np.uint8)).save(source, exif=exif)
    monkeypatch.setattr(encoding, "_SMALL_TIFF", 1000)
    restore_in_parts(blur, source, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled
        assert file.pages[0].shape == (300, 520, 3)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.getexif().get_ifd(34665)[33434] == 0.5
    restore_file(blur, source, tmp_path / "b.png")
    assert np.array_equal(read_picture(tmp_path / "b.tif").pixels, read_picture(tmp_path / "b.png").pixels)


def test_a_network_that_enlarges_and_counts_from_other_values(
    numpy_engine: type, manifest: Make, tmp_path: Path
) -> None:
    engine = numpy_engine(lambda batch: (255 - batch).repeat(2, 2).repeat(2, 3))
    source = pillow(tmp_path / "a.png", noise(3))
    restorer = Restorer(engine, manifest(scale=2, value_range=(0.0, 255.0)), tile=48, overlap=16)
    restore_in_parts(restorer, source, tmp_path / "b.tif")
    expected = 255 - np.asarray(Image.open(source)).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.tif")), expected)


def test_progress_counts_every_tile(blur: Restorer, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    source = pillow(tmp_path / "a.png", noise(3))
    restore_in_parts(blur, source, tmp_path / "b.png", lambda *call: calls.append(call))
    total = len(blur.plan(*SHAPE))
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_too_little_memory_names_the_smallest_that_suffices(
    blur_engine: OnnxRuntimeEngine, manifest: Make, tmp_path: Path
) -> None:
    source = tiff(tmp_path / "a.tif", RNG.integers(0, 256, (1500, 1400, 3), np.uint8), tile=(256, 256))
    with pytest.raises(ConfigError, match="10 MB of memory do not suffice") as caught:
        restore_file(Restorer(blur_engine, manifest(), limit=10**7), source, tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()
    least = int(caught.value.mend.partition("--memory ")[2].partition("MB")[0])
    assert least * 10**6 > resident_memory()
    restorer = Restorer(blur_engine, manifest(), limit=least * 10**6 + 10**7)  # this process may have grown meanwhile
    assert in_parts(restorer, source)
    restore_file(restorer, source, tmp_path / "b.tif")
    assert (tmp_path / "b.tif").exists()


def test_a_picture_within_the_limit_stays_in_memory(
    blur_engine: OnnxRuntimeEngine, manifest: Make, tmp_path: Path
) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    assert not in_parts(Restorer(blur_engine, manifest(), limit=resident_memory() + 2 * 10**9), source)
    assert in_parts(Restorer(blur_engine, manifest(), limit=resident_memory() + 10**6), source)


def test_a_failure_in_the_middle_leaves_what_was_there(numpy_engine: type, manifest: Make, tmp_path: Path) -> None:
    runs = iter(range(100))

    def tire(batch: np.ndarray) -> np.ndarray:
        return batch * np.float32(np.nan if next(runs) == 11 else 1)

    source, target = pillow(tmp_path / "a.png", noise(3)), tmp_path / "b.tif"
    target.write_bytes(b"older")
    with pytest.raises(EngineError, match="not numbers"):
        restore_in_parts(Restorer(numpy_engine(tire), manifest(), tile=48), source, target)
    assert target.read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.tif"]


def test_a_full_disk_is_one_line_and_leaves_nothing(blur: Restorer, tmp_path: Path) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(ImageError, match="cannot be written"):
            restore_in_parts(blur, source, tmp_path / "b.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_damaged_picture_leaves_nothing(blur: Restorer, tmp_path: Path) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    source.write_bytes(source.read_bytes()[:40_000])
    with pytest.raises(ImageError, match="cannot be read"):
        restore_in_parts(blur, source, tmp_path / "b.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["b.jpg", "b.webp"])
def test_formats_that_need_the_whole_picture_are_refused(blur: Restorer, tmp_path: Path, name: str) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    with pytest.raises(ImageError, match="cannot be written in parts") as caught:
        restore_in_parts(blur, source, tmp_path / name)
    assert "b.tif" in caught.value.mend


def test_kinds_that_are_not_read_in_parts_are_refused(blur: Restorer, tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20)).save(tmp_path / "a.jpg")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.bmp")
    for name in ("a.jpg", "a.bmp"):
        with pytest.raises(ImageError, match="not read in parts"):
            restore_in_parts(blur, tmp_path / name, tmp_path / "b.tif")


def test_the_source_is_never_overwritten(blur: Restorer, tmp_path: Path) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    before = source.read_bytes()
    with pytest.raises(UsageError, match="input itself"):
        restore_in_parts(blur, source, source)
    assert source.read_bytes() == before


def test_a_decoder_that_works_on_the_whole_picture_counts_as_memory(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg", progressive=True)
    Image.fromarray(noise(3)).save(tmp_path / "b.jpg")
    with open_rows(tmp_path / "a.jpg") as rows:
        assert rows.decoder_bytes >= 3 * SHAPE[0] * SHAPE[1]
    with open_rows(tmp_path / "b.jpg") as rows:
        assert rows.decoder_bytes == 0


def test_a_missing_library_names_its_extra(blur: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pillow(tmp_path / "a.png", noise(3))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(MissingDependency, match=r"nafnet-deploy\[huge\]"):
        restore_in_parts(blur, source, tmp_path / "b.png")
