"""Tiles cover every pixel, and their weights sum to one there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.tiling import Axis, Blender, even_size, plan_axis, plan_tiles


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, Axis]:
    length, size = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    return length, plan_axis(length, size, draw(st.integers(0, size - 1)))


@given(axes(), st.sampled_from([1, 2, 4]))
def test_weights_sum_to_one_and_are_one_where_alone(case: tuple[int, Axis], scale: int) -> None:
    length, axis = case
    total, cover = np.zeros(length * scale), np.zeros(length * scale, int)
    spans = [slice(s * scale, (s + axis.size) * scale) for s in axis.starts]
    for span, weights in zip(spans, axis.weights(scale), strict=True):
        assert (weights > 0).all()
        total[span] += weights
        cover[span] += 1
    assert cover.min() >= 1
    assert np.allclose(total, 1, atol=1e-6)
    for span, weights in zip(spans, axis.weights(scale), strict=True):
        assert (weights[cover[span] == 1] == 1).all()


@given(axes())
def test_spans_have_one_size_and_end_at_the_edges(case: tuple[int, Axis]) -> None:
    length, axis = case
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.size == length
    assert list(axis.starts) == sorted(set(axis.starts))
    gaps = np.diff(axis.starts)
    assert (gaps <= axis.size - axis.overlap).all()
    assert len(set(gaps[:-1].tolist())) <= 1  # only the last span is shifted


def test_weights_rise_smoothly_over_the_overlap() -> None:
    first, second = plan_axis(48, 32, 16).weights()
    assert (np.diff(second[:16]) > 0).all()
    assert np.allclose(first[16:] + second[:16], 1)
    assert second[0] < 0.01
    assert np.abs(np.diff(second)).max() < 0.11


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(0, 19), st.sampled_from([1, 2]))
def test_identical_tiles_blend_to_the_picture(height: int, width: int, tile: int, overlap: int, scale: int) -> None:
    picture = np.random.default_rng(1).random((height, width, 3), np.float32)
    large = picture.repeat(scale, 0).repeat(scale, 1)
    plan = plan_tiles(height, width, (tile, tile), min(overlap, tile - 1))
    blender = Blender(plan, 3, scale)
    h, w = plan.tile
    for top, left in plan:
        blender.add(top, left, picture[top : top + h, left : left + w].repeat(scale, 0).repeat(scale, 1))
    assert blender.result.dtype == np.float32
    assert np.allclose(blender.result, large, atol=1e-6)


def test_a_plan_knows_how_many_tiles_it_has() -> None:
    plan = plan_tiles(100, 30, (40, 40), 10)
    assert len(plan) == len(list(plan)) == 3
    assert plan.tile == (40, 30)


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 600), st.sampled_from([1, 2, 4, 16]))
def test_an_even_size_takes_no_more_spans_and_none_smaller_would_do(
    length: int, times: int, overlap: int, multiple: int
) -> None:
    size = overlap + times * multiple
    even = even_size(length, size, overlap, multiple)
    assert even <= size
    if length <= size:
        assert even == size
        return
    spans = len(plan_axis(length, size, overlap).starts)
    assert overlap < even
    assert len(plan_axis(length, even, overlap).starts) == spans
    if even < size:
        assert even % multiple == 0
    smaller = even - multiple
    assert smaller <= overlap or len(plan_axis(length, smaller, overlap).starts) > spans


def test_spans_that_would_repeat_most_of_a_neighbour_shrink_instead() -> None:
    assert even_size(2000, 512, 24, 4) == 420


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (8, 8), (8, 9), (8, -1)])
def test_impossible_tiles_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ConfigError):
        plan_axis(100, size, overlap)
