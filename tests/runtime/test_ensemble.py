"""An ensemble is the mean over the 8 flips and turns, whatever the size, the tiles and the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.turns import TURNS, back, turned
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.presets import PRESETS
from nafnet_deploy.runtime.restorer import Restorer

Make = Callable[..., ModelManifest]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width, 3), np.float32)


def leaning(batch: np.ndarray) -> np.ndarray:
    """Answers differently for each of the 8 views: a pixel looks at its neighbours to the right and below."""
    return 0.5 * batch + 0.3 * np.roll(batch, -1, axis=3) + 0.2 * np.roll(batch, -2, axis=2)


def test_the_views_are_eight_different_ones_and_each_finds_back() -> None:
    image = picture(5, 7)
    assert len({turned(image, turn).tobytes() for turn in TURNS}) == 8
    assert all(np.array_equal(back(turned(image, turn), turn), image) for turn in TURNS)


@pytest.mark.parametrize(("height", "width"), [(24, 40), (13, 30), (1, 5)])
def test_it_is_the_mean_of_the_views_restored_one_by_one(
    numpy_engine: type, manifest: Make, height: int, width: int
) -> None:
    image = picture(height, width)
    plain = Restorer(numpy_engine(leaning), manifest(), tile="off")
    views = [back(plain(np.ascontiguousarray(turned(image, turn))), turn) for turn in TURNS]
    together = Restorer(numpy_engine(leaning), manifest(), tile="off", ensemble=True)(image)
    assert np.allclose(together, np.mean(views, axis=0), atol=1e-6)
    assert together.dtype == np.float32


@pytest.mark.parametrize("shape", [("batch", 3, "height", "width"), (4, 3, 32, 32)])
def test_tiles_and_fixed_graphs_have_it_too(numpy_engine: type, manifest: Make, shape: tuple[int | str, ...]) -> None:
    engine = numpy_engine(lambda batch: batch, shape)
    image = picture(70, 50)
    assert np.allclose(Restorer(engine, manifest(), 32, 8, ensemble=True)(image), image, atol=1e-6)


def test_an_enlarged_picture_is_put_back_at_its_scale(numpy_engine: type, manifest: Make) -> None:
    engine = numpy_engine(lambda batch: batch.repeat(2, 2).repeat(2, 3))
    image = picture(20, 31)
    result = Restorer(engine, manifest(scale=2), tile=16, overlap=4, ensemble=True)(image)
    assert np.allclose(result, image.repeat(2, 0).repeat(2, 1), atol=1e-6)


def test_what_has_no_turned_views_is_refused(numpy_engine: type, manifest: Make) -> None:
    with pytest.raises(ConfigError, match="no turned tile"):
        Restorer(numpy_engine(leaning, (1, 3, 16, 24)), manifest(), ensemble=True)
    stereo = manifest(model=PRESETS["nafssr-t-x2"].config)
    with pytest.raises(ConfigError, match="stereo"):
        Restorer(numpy_engine(leaning, ("batch", 6, "height", "width")), stereo, ensemble=True)
