"""The library's front door: arrays, Pillow images and paths."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import nafnet_deploy
from nafnet_deploy import Restorer
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, ImageError
from tests.bundles import write_enlarging_bundle
from tests.cli.conftest import photo

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def restorer(tiny: Path) -> Iterator[Restorer]:
    with Restorer.from_bundle(tiny, engine="onnxruntime", threads=1) as opened:
        yield opened


def test_importing_the_package_imports_nothing_that_computes() -> None:
    code = "import sys, nafnet_deploy; print(*sorted({'numpy', 'PIL', 'onnxruntime', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "Restorer" in dir(nafnet_deploy)
    with pytest.raises(AttributeError, match="Restored"):
        _ = nafnet_deploy.Restored


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_an_array_comes_back_in_its_type_and_channels(restorer: Restorer, dtype: type, channels: int | None) -> None:
    white = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    array = (RNG.random((9, 11) if channels is None else (9, 11, channels)) * white).astype(dtype)
    kept = array.copy()
    restored = restorer(array)
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    assert np.array_equal(array, kept)
    if channels in (2, 4):
        assert np.array_equal(restored[..., -1], array[..., -1])


@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_size_from_one_pixel_comes_back(restorer: Restorer, height: int, width: int) -> None:
    assert restorer(np.zeros((height, width, 3), np.uint8)).shape == (height, width, 3)


def test_array_image_path_and_command_give_the_same_picture(restorer: Restorer, tiny: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    image = Image.open(source)
    restored = restorer(np.asarray(image))
    assert np.array_equal(np.asarray(restorer(image)), restored)
    assert np.array_equal(np.asarray(restorer(str(source))), restored)
    restorer.restore_file(source, tmp_path / "b.png")
    line = ["run", str(source), "-m", str(tiny), "-o", str(tmp_path / "c.png"), "--engine", "onnxruntime"]
    subprocess.run([sys.executable, "-m", "nafnet_deploy", *line], check=True)
    for written in ("b.png", "c.png"):
        with Image.open(tmp_path / written) as file:
            assert np.array_equal(np.asarray(file), restored)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *((mode, mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16")),
        *(("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB")),
    ],
)
def test_an_image_of_any_mode_comes_back(restorer: Restorer, mode: str, expected: str) -> None:
    restored = restorer(Image.new(mode, (12, 8)))
    assert (restored.mode, restored.size) == (expected, (12, 8))


def test_the_profile_of_an_image_stays(restorer: Restorer) -> None:
    image = Image.new("RGB", (8, 8))
    image.info |= {"icc_profile": b"profile", "dpi": (72, 72)}
    assert restorer(image).info == {"icc_profile": b"profile", "dpi": (72, 72)}


def test_cmyk_goes_through_its_profile_and_leaves_it_behind(restorer: Restorer) -> None:
    image = Image.new("CMYK", (8, 8), (10, 200, 30, 40))
    image.info |= {"icc_profile": b"of CMYK", "dpi": (72, 72)}
    restored = restorer(image)
    assert (restored.mode, restored.info) == ("RGB", {"dpi": (72, 72)})


def test_deep_grey_of_any_byte_order_stays_deep(restorer: Restorer) -> None:
    little = Image.fromarray(np.full((8, 8), 40000, np.uint16))
    big = Image.frombytes("I;16B", (8, 8), np.full((8, 8), 40000, ">u2").tobytes())
    assert np.array_equal(np.asarray(restorer(big)), np.asarray(restorer(little)))


def test_float_transparency_is_enlarged_without_rounding(tmp_path: Path) -> None:
    write_enlarging_bundle(tmp_path / "x2.onnx", 2)
    with Restorer.from_bundle(tmp_path / "x2.onnx", engine="onnxruntime") as enlarging:
        restored = enlarging(np.full((4, 4, 4), 0.4, np.float32))
    assert restored.shape == (8, 8, 4)
    assert np.allclose(restored[..., 3], 0.4)


def test_a_transparent_palette_keeps_its_transparency(restorer: Restorer) -> None:
    image = Image.new("P", (8, 8))
    image.info["transparency"] = 0
    assert restorer(image).mode == "RGBA"


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), "needed"),
        (np.zeros((4, 4, 5), np.uint8), "needed"),
        (np.zeros(4, np.uint8), "needed"),
        (np.zeros((4, 4), bool), "bool"),
        (np.full((4, 4), np.nan), "finite"),
        (np.full((4, 4), 255.0), "reaches 255"),
        (Image.new("F", (4, 4)), "known white"),
        (b"bytes", "bytes"),
    ],
)
def test_what_is_no_picture_is_refused(restorer: Restorer, picture: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        restorer(picture)  # type: ignore[call-overload]


def test_a_file_with_deep_colour_goes_from_file_to_file(restorer: Restorer, tmp_path: Path) -> None:
    from tests.pictures import png16

    deep = tmp_path / "deep.png"
    deep.write_bytes(png16(RNG.integers(0, 65536, (6, 7, 3), dtype=np.uint16)))
    with pytest.raises(ImageError, match="restore_file"):
        restorer(deep)
    restorer.restore_file(deep, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 100


def test_iterations_tiles_and_thresholds_are_heard(tiny: Path, tiny_split: Path) -> None:
    array = RNG.random((24, 24, 3))
    results = []
    for n in (1, 2, 3):
        with Restorer.from_bundle(tiny, iterations=n, tile=16, overlap=4) as restorer:
            results.append(restorer(array))
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[1], results[2])
    with Restorer.from_bundle(tiny_split, until_delta=1.0, max_iterations=3) as restorer:
        restorer(array)
        assert restorer.engine.counts == {1: 1}  # type: ignore[attr-defined]


def test_a_released_model_is_found_by_its_name() -> None:
    with Restorer.from_pretrained("denoise-light", engine="onnxruntime", iterations=1, threads=1) as restorer:
        assert restorer.manifest.name == "denoise-light"
        noisy = np.clip(0.5 + 0.1 * RNG.standard_normal((32, 32, 3)), 0, 1)
        assert restorer(noisy).std() < 0.5 * noisy.std()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iters": 5}, "'iterations'"),
        ({"tiles": 8}, "'tile'"),
        ({"device": "cuda"}, "unknown"),
        ({"memory": 0}, "memory=0"),
        ({"memory": -1}, "memory=-1"),
        ({"memory": 1.5e9}, "int or str"),
        ({"iterations": "2"}, "Give int"),
        ({"iterations": True}, "Give int"),
        ({"threads": 1.5}, "Give int"),
        ({"overlap": 2.5}, "Give int"),
        ({"tile": 20.5}, "str or int"),
        ({"engine": 1}, "Give str"),
        ({"ensemble": 1}, "Give bool"),
        ({"until_delta": "small"}, "float or int"),
        ({"note": "loud"}, "Callable"),
    ],
)
def test_unknown_options_and_values_of_another_kind_are_refused(
    tiny: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Restorer.from_bundle(tiny, **options)  # type: ignore[arg-type]


def test_an_option_that_is_none_was_not_given(tiny: Path) -> None:
    options = dict.fromkeys(("engine", "tile", "ensemble", "iterations", "memory", "note"))
    with Restorer.from_bundle(tiny, **options) as restorer:  # type: ignore[arg-type]
        assert restorer(np.zeros((4, 5, 3), np.uint8)).shape == (4, 5, 3)


def test_an_image_whose_file_is_damaged_or_closed_is_refused(restorer: Restorer, tmp_path: Path) -> None:
    whole = photo(tmp_path / "a.png", (200, 100)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    closed = Image.open(tmp_path / "a.png")
    closed.load()
    closed.close()
    for image in (Image.open(tmp_path / "cut.png"), closed):
        with pytest.raises(ImageError, match="cannot be decoded"):
            restorer(image)


def test_a_matrix_is_restored_as_the_array_that_it_is(restorer: Restorer) -> None:
    array = RNG.integers(0, 256, (8, 9), dtype=np.uint8)
    restored = restorer(array.view(np.matrix))
    assert type(restored) is np.ndarray
    assert np.array_equal(restored, restorer(array))


def test_wrong_options_are_refused(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match="denoise-light"):
        Restorer.from_pretrained("denoise-lite")
    with pytest.raises(ConfigError, match="iterations=0"):
        Restorer.from_bundle(tiny, iterations=0)
    with pytest.raises(ConfigError, match=r"iterations=2\.5"):
        Restorer.from_bundle(tiny, iterations=2.5)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="iterations"):
        Restorer.from_bundle(tiny, iterations=99)
    with pytest.raises(ConfigError, match="tile"):
        Restorer.from_bundle(tiny, tile="huge")
    with pytest.raises(EngineError, match="split"):
        Restorer.from_bundle(tiny, until_delta=0.1)
