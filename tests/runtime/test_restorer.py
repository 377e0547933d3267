"""The restorer gives back what the engine computes, whatever the size, tile or fixed shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.errors import ConfigError, EngineError, ImageError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.runtime.restorer import Restorer

Make = Callable[..., ModelManifest]
# the fixtures are factories without state
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width, 3), np.float32)


def same(batch: np.ndarray) -> np.ndarray:
    return batch


@SHARED
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.one_of(st.just("auto"), st.just("off"), st.integers(8, 210)),
    st.one_of(st.none(), st.integers(0, 100)),
    st.sampled_from(["reflect", "zeros"]),
    st.integers(1, 4_000_000),
)
def test_an_identity_network_leaves_any_picture_unchanged(
    numpy_engine: type,
    manifest: Make,
    height: int,
    width: int,
    tile: str | int,
    overlap: int | None,
    mode: str,
    memory: int,
) -> None:
    if isinstance(tile, int) and overlap is not None:
        overlap = min(overlap, tile - 1)
    image = picture(height, width)
    before = image.copy()
    result = Restorer(numpy_engine(same), manifest(padding=mode), tile, overlap, memory)(image)
    assert result.dtype == np.float32
    assert np.allclose(result, image, atol=1e-6)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (30, 40), (31, 41)])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_graph_of_fixed_size_sees_only_that_size(
    numpy_engine: type, manifest: Make, height: int, width: int, batch: int
) -> None:
    engine = numpy_engine(same, (batch, 3, 16, 24))
    image = picture(height, width)
    assert np.allclose(Restorer(engine, manifest())(image), image, atol=1e-6)
    assert set(engine.seen) == {(batch, 3, 16, 24)}


def test_a_graph_of_fixed_size_works_without_tiling_when_the_picture_fits(numpy_engine: type, manifest: Make) -> None:
    restorer = Restorer(numpy_engine(same, (1, 3, 16, 24)), manifest(), tile="off")
    image = picture(16, 20)
    assert np.array_equal(restorer(image), image)
    with pytest.raises(ConfigError, match="takes 16x24 pixels and the picture has 17x20"):
        restorer(picture(17, 20))


def test_the_network_sees_multiples_of_its_step(numpy_engine: type, manifest: Make) -> None:
    engine = numpy_engine(same)
    Restorer(engine, manifest(), tile="off")(picture(13, 3))
    Restorer(engine, manifest(), tile=20, overlap=4)(picture(50, 50))
    assert engine.seen[0] == (1, 3, 16, 8)
    assert set(engine.seen[1:]) == {(1, 3, 24, 24)}


def test_padding_follows_the_manifest(numpy_engine: type, manifest: Make) -> None:
    seen = []

    def look(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return batch

    for mode in ("zeros", "reflect"):
        Restorer(numpy_engine(look), manifest(padding=mode))(picture(7, 8))
    zeros, reflected = seen
    assert (zeros[0, :, 7] == 0).all()
    assert np.array_equal(reflected[0, :, 7], reflected[0, :, 5])


def test_auto_takes_the_whole_picture_when_it_fits_and_tiles_that_fit_otherwise(
    numpy_engine: type, manifest: Make
) -> None:
    def tile(memory: int, size: int = 512) -> tuple[int, int]:
        return Restorer(numpy_engine(same), manifest(), memory=memory).plan(size, size).tile

    assert tile(512 * 512 * 100) == (512, 512)
    assert tile(1) == (96, 96)  # the smallest that the manifest vouches for


def test_automatic_tiles_are_no_larger_than_their_number_needs(numpy_engine: type, manifest: Make) -> None:
    restorer = Restorer(numpy_engine(same), manifest(), memory=1024 * 1024 * 100)
    plan = restorer.plan(3000, 1100)
    assert plan.tile == (1008, 560)  # 3 x 2 tiles of up to 1024 that share 8, in steps of 8
    assert (len(plan.rows.starts), len(plan.columns.starts)) == (3, 2)
    assert Restorer(numpy_engine(same), manifest(), tile=512).plan(3000, 1100).tile == (512, 512)


def test_tiles_of_a_real_network_match_the_whole_picture(blur_engine: OnnxRuntimeEngine, manifest: Make) -> None:
    image = picture(88, 120)  # multiples of 8: padding at the border would differ
    whole = Restorer(blur_engine, manifest(), tile="off")(image)
    tiled = Restorer(blur_engine, manifest(), tile=40, overlap=16)(image)
    assert np.abs(whole - tiled).max() < 2e-3
    assert np.allclose(whole[1, 1], image[:3, :3].mean((0, 1)), atol=1e-6)


def test_a_network_that_enlarges_blends_at_its_scale(numpy_engine: type, manifest: Make) -> None:
    engine = numpy_engine(lambda batch: batch.repeat(2, 2).repeat(2, 3))
    image = picture(50, 37)
    result = Restorer(engine, manifest(scale=2), tile=16, overlap=5)(image)
    assert np.allclose(result, image.repeat(2, 0).repeat(2, 1), atol=1e-6)


def test_the_result_is_clipped_to_the_value_range(numpy_engine: type, manifest: Make) -> None:
    engine = numpy_engine(lambda batch: batch * 4 - 1)
    for low, high in ((0.0, 1.0), (0.0, 2.0)):
        result = Restorer(engine, manifest(value_range=(low, high)))(picture(20, 20))
        assert result.min() == low
        assert result.max() == high


def test_a_half_precision_graph_gets_half_and_gives_float32(numpy_engine: type, manifest: Make) -> None:
    image = picture(20, 20)
    result = Restorer(numpy_engine(same, dtype="float16"), manifest(), tile=16)(image)
    assert result.dtype == np.float32
    assert np.allclose(result, image, atol=1e-3)


def test_progress_counts_tiles(numpy_engine: type, manifest: Make) -> None:
    calls: list[tuple[int, int]] = []
    Restorer(numpy_engine(same, (4, 3, 16, 16)), manifest(), overlap=0)(picture(48, 32), lambda *c: calls.append(c))
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_an_error(numpy_engine: type, manifest: Make, bad: float) -> None:
    def spoil(batch: np.ndarray) -> np.ndarray:
        batch[0, 1, 2, 3] = bad
        return batch

    with pytest.raises(EngineError, match="not numbers"):
        Restorer(numpy_engine(spoil), manifest())(picture(20, 20))


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        ("large", None, "large"),
        (7, None, "7 pixels is too small"),
        (0, None, "0 pixels is too small"),
        (16, 16, "overlap of 16"),
        ("auto", -1, "overlap of -1"),
        ("auto", 513, "overlap of 513"),
    ],
)
def test_impossible_options_are_refused_at_once(
    numpy_engine: type, manifest: Make, tile: str | int, overlap: int | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Restorer(numpy_engine(same), manifest(), tile, overlap)
    assert caught.value.mend


@pytest.mark.parametrize(("tile", "overlap"), [(24, None), ("auto", 16)])
def test_options_that_a_fixed_size_rules_out_are_refused(
    numpy_engine: type, manifest: Make, tile: str | int, overlap: int | None
) -> None:
    with pytest.raises(ConfigError, match="16"):
        Restorer(numpy_engine(same, (1, 3, 16, 16)), manifest(), tile, overlap)


@pytest.mark.parametrize("shape", [("batch", 1, "height", "width"), ("batch", 3, "height")])
def test_a_graph_that_is_not_for_rgb_pictures_is_refused(
    numpy_engine: type, manifest: Make, shape: tuple[int | str, ...]
) -> None:
    with pytest.raises(EngineError):
        Restorer(numpy_engine(same, shape), manifest())


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.float32), np.zeros((0, 4, 3), np.float32)]
)
def test_an_array_that_is_no_picture_is_refused(numpy_engine: type, manifest: Make, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"\[H, W, 3\]"):
        Restorer(numpy_engine(same), manifest())(image)
