"""Padding reaches the multiple from any size and comes off again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.padding import crop, pad_to, pad_to_multiple

SIDES = st.integers(1, 70)


@given(SIDES, SIDES, st.sampled_from([1, 2, 8, 16, 64]), st.sampled_from(["reflect", "zeros"]))
def test_padding_reaches_the_multiple_and_cropping_undoes_it(height: int, width: int, multiple: int, mode: str) -> None:
    array = np.random.default_rng(0).random((2, 3, height, width), np.float32)
    padded = pad_to_multiple(array, multiple, mode)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - height < multiple
    assert padded.shape[-1] - width < multiple
    assert np.array_equal(crop(padded, height, width), array)


@given(st.integers(1, 20), st.integers(0, 60))
def test_reflection_bounces_between_the_edges(length: int, extra: int) -> None:
    padded = pad_to(np.arange(length)[None], 1, length + extra, "reflect")[0]
    period = max(2 * (length - 1), 1)
    wanted = [min(i % period, period - i % period) if length > 1 else 0 for i in range(length + extra)]
    assert padded.tolist() == wanted


def test_zeros_are_zeros() -> None:
    assert pad_to(np.ones((1, 1)), 2, 3, "zeros").tolist() == [[1, 0, 0], [0, 0, 0]]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="mirror"):
        pad_to(np.ones((1, 1)), 2, 2, "mirror")
