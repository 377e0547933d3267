"""Comparison: what is measured, which part is shown, and a sheet on which nothing is cut off."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.colormap import colours
from nafnet_deploy.metrics import psnr
from nafnet_deploy.runtime import sheet
from nafnet_deploy.runtime.compare import MAX_CROP, Column, Comparison, Region, compare, most_changed
from nafnet_deploy.runtime.sheet import PANEL, change_scale, draw_sheet, gate_scale
from tests.bundles import manifest_of, write_identity_graph
from tests.toy import ToyEngine, network


@pytest.fixture
def manifest(tmp_path: Path):  # type: ignore[no-untyped-def]
    write_identity_graph(tmp_path / "toy.onnx")
    return manifest_of(tmp_path / "toy.onnx")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (height, width, 3)).astype(np.float32)


def restored(pixels: np.ndarray, n: int) -> np.ndarray:
    return network(pixels.transpose(2, 0, 1)[None], n)[0].transpose(1, 2, 0).clip(0, 1)


def test_columns_hold_each_iterations_picture_change_and_psnr(manifest) -> None:  # type: ignore[no-untyped-def]
    pixels, reference = picture(20, 30), picture(20, 30, 1)
    engines: list[ToyEngine] = []

    def open_engine(n: int) -> ToyEngine:
        assert all(engine.closed for engine in engines)  # one at a time: on a GPU they share its memory
        engines.append(ToyEngine(network, n))
        return engines[-1]

    result = compare(pixels, reference, manifest, range(1, 5), open_engine, None)
    assert sorted(engine.iterations for engine in engines) == [1, 2, 3, 4]
    assert (result.region, result.size, result.engine) == (Region(0, 0, 30, 20), (20, 30), "toy cpu")
    assert result.psnr == pytest.approx(psnr(pixels, reference))
    last = pixels
    for n, column in enumerate(result.columns, 1):
        expected = restored(pixels, n)
        assert column.iterations == n
        np.testing.assert_allclose(column.picture, expected, atol=1e-6)
        np.testing.assert_allclose(column.change, np.abs(expected - last).mean(axis=2) * 255, atol=1e-3)
        assert column.psnr == pytest.approx(psnr(expected, reference), abs=1e-4)
        assert column.seconds > 0
        assert column.gates == {}
        last = expected


@pytest.mark.parametrize("steps", [range(1, 2), range(1, 3), (3,)])
def test_few_columns_and_a_crop(manifest, steps) -> None:  # type: ignore[no-untyped-def]
    pixels = picture(40, 50)
    crop = Region(7, 3, 20, 10)
    result = compare(pixels, None, manifest, steps, lambda n: ToyEngine(network, n), None, crop)
    assert [c.iterations for c in result.columns] == list(steps)
    for column in result.columns:
        np.testing.assert_allclose(column.picture, restored(pixels, column.iterations)[3:13, 7:27], atol=1e-6)
        assert column.psnr is None


def test_a_large_picture_shows_where_the_iterations_differ_most(manifest) -> None:  # type: ignore[no-untyped-def]
    pixels = np.zeros((200, 300, 3), np.float32)

    def local(x: np.ndarray, n: int) -> np.ndarray:
        result = x + np.float32(0.5)  # large and the same after every iteration: of no interest
        result[:, :, 120:130, 250:260] += np.float32(0.01 * n)
        return result

    result = compare(pixels, None, manifest, range(1, 4), lambda n: ToyEngine(local, n), None, side=64)
    region = result.region
    assert (region.width, region.height) == (64, 64)
    assert region.x <= 250 < 260 <= region.x + 64
    assert region.y <= 120 < 130 <= region.y + 64
    assert result.columns[2].picture.shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (5, 700), (700, 5), (64, 64), (65, 63), (333, 517)])
def test_the_most_changed_region_lies_inside_for_any_size(size: tuple[int, int]) -> None:
    before = picture(*size)
    for after in (before, picture(*size, 1)):
        region = most_changed(before, after, 64)
        assert (region.width, region.height) == (min(size[1], 64), min(size[0], 64))
        assert region.of(before).shape == (region.height, region.width, 3)
    assert most_changed(before, before, 1) == Region((size[1] - 1) // 2, (size[0] - 1) // 2, 1, 1)


@pytest.mark.parametrize("crop", [Region(0, 0, 31, 5), Region(30, 0, 1, 1), Region(0, 0, 0, 4), Region(-1, 0, 2, 2)])
def test_a_crop_outside_the_picture_is_refused(manifest, crop: Region) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"--crop .* 30x20"):
        compare(picture(20, 30), None, manifest, (1,), lambda n: ToyEngine(network, n), None, crop)


def test_what_cannot_be_shown_is_refused(manifest) -> None:  # type: ignore[no-untyped-def]
    huge = np.broadcast_to(np.float32(0), (MAX_CROP // 1000 + 1, 1000, 3))
    with pytest.raises(ConfigError, match="too large to show"):
        compare(huge, None, manifest, (1,), lambda n: ToyEngine(network, n), None, Region(0, 0, *huge.shape[1::-1]))
    larger = dataclasses.replace(manifest, scale=2)
    with pytest.raises(ConfigError, match="enlarges"):
        compare(picture(20, 30), None, larger, (1,), lambda n: ToyEngine(network, n), None)


def test_colours_run_from_dark_to_bright_and_stop_at_the_ends() -> None:
    ramp = colours(np.linspace(0, 1, 101))
    light = ramp @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()
    assert (colours(np.array([-5.0, 5.0])) == ramp[[0, -1]]).all()


def test_scales_cover_all_maps_and_even_those_without_any_change() -> None:
    maps = [np.full((9, 9), value, np.float32) for value in (17.0, 0.21, 0.047)]
    scale = change_scale(maps)
    assert (scale.low, scale.high) == (pytest.approx(0.02), pytest.approx(20))
    assert scale.ticks() == pytest.approx([0.1, 1, 10])
    places = [float(scale.place(m)[0, 0]) for m in maps]
    assert places == sorted(places, reverse=True)
    assert 0 < places[2] < 0.2
    still = change_scale([np.zeros((4, 4), np.float32)])
    assert 0 < still.low < still.high
    assert float(still.place(np.zeros(1, np.float32))[0]) == pytest.approx(0)
    flat = gate_scale([np.full((4, 4), 0.5, np.float32)])
    assert flat.low <= 0.5 < flat.high


def comparison(size: tuple[int, int], count: int, score: float | None, places: tuple[str, ...]) -> Comparison:
    pixels = picture(*size)
    gates = dict.fromkeys(places, pixels[..., 0])
    columns = tuple(Column(n, pixels, pixels[..., 1], gates, score, 0.5 * n) for n in range(1, count + 1))
    return Comparison(pixels, score, columns, Region(0, 0, size[1], size[0]), size, "toy cpu")


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (1, 500), (500, 1), (320, 320), (400, 900)])
@pytest.mark.parametrize(
    ("count", "score", "places"),
    [(1, None, ()), (5, 31.25, ("middle",)), (2, math.inf, ("encoder", "middle", "decoder"))],
)
def test_nothing_is_drawn_outside_the_sheet_or_over_anything_else(
    size: tuple[int, int],
    count: int,
    score: float | None,
    places: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[int, int, int, int]] = []
    write = sheet.ImageDraw.ImageDraw.text

    def text(pen, at, words, **options):  # type: ignore[no-untyped-def]
        drawn.append(pen.textbbox(at, words, font=options["font"]))
        write(pen, at, words, **options)

    monkeypatch.setattr(sheet.ImageDraw.ImageDraw, "text", text)
    result = draw_sheet(comparison(size, count, score, places), "a long name " * 30, "many words and notes " * 20)
    assert result.mode == "RGB"
    for left, top, right, bottom in drawn:
        assert left >= 0
        assert top >= 0
        assert right <= result.width
        assert bottom <= result.height
    for i, a in enumerate(drawn):
        for b in drawn[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def test_a_panel_shows_the_picture_itself_pixel_by_pixel() -> None:
    shown = np.asarray(draw_sheet(comparison((PANEL, PANEL), 1, None, ()), "title", "notes"))
    samples = np.rint(picture(PANEL, PANEL) * 255).astype(np.uint8)
    row = next(y for y in range(len(shown)) if (shown[y, 28 : 28 + PANEL] == samples[0]).all())
    assert (shown[row : row + PANEL, 28 : 28 + PANEL] == samples).all()


def test_names_that_the_font_does_not_know_are_drawn_all_the_same() -> None:
    assert isinstance(draw_sheet(comparison((20, 20), 1, 30.0, ()), "模型 \ud800 ü", "é"), Image.Image)
