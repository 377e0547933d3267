"""Training crops: the same place in every picture of an example, and tasks in their order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nafnet_deploy.config import TASKS
from nafnet_deploy.data.bank import PictureBank
from nafnet_deploy.data.datasets import UNTOLD, CropDataset, ValidationDataset, collate
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.pairs import Pair, find_pairs
from nafnet_deploy.data.task_plan import TaskPlan
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.resize import enlarge, shrink
from tests.data.folders import photo, pixels

NOISE = Degradation()


def coded(path: Path, height: int, width: int, scale: int = 1, shift: int = 0) -> None:
    """A picture whose pixels say where they lie: row, column (both divided by `scale`) and `shift`."""
    rows, columns = np.indices((height, width)) // scale
    path.parent.mkdir(parents=True, exist_ok=True)
    code = np.stack([rows, columns + shift, np.full_like(rows, shift)], axis=2)
    Image.fromarray(code.astype(np.uint8)).save(path)


def crops(pairs: list[Pair], scale: int, count: int = 12, side: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    data = CropDataset(PictureBank(pairs, 16, scale), NOISE, side, 0, count)
    return [tuple(np.round(p.numpy() * 255).astype(int) for p in data[i][:2]) for i in range(count)]


@pytest.mark.parametrize("scale", [2, 3])
def test_small_and_large_crops_show_the_same_place(scale: int, tmp_path: Path) -> None:
    coded(tmp_path / f"lr/x{scale}/a.png", 20, 30)
    coded(tmp_path / "hr/a.png", 20 * scale, 30 * scale, scale)
    pairs = find_pairs("super-resolution", tmp_path, "train", scale=scale)
    places = set()
    for small, large in crops(pairs, scale):
        assert large.shape == (3, 6 * scale, 6 * scale)
        assert np.array_equal(large[:2, ::scale, ::scale], small[:2])
        places.add(tuple(small[:2, 0, 0]))
    assert len(places) > 6, "places and turns are drawn anew"


def test_views_are_cut_at_the_same_place_and_change_sides_when_mirrored(tmp_path: Path) -> None:
    for side, shift in (("L", 0), ("R", 100)):
        coded(tmp_path / f"lr/x2/a_{side}.png", 20, 30, shift=shift)
        coded(tmp_path / f"hr/a_{side}.png", 40, 60, 2, shift)
    pairs = find_pairs("stereo", tmp_path, "train", scale=2, views=2)
    swapped = set()
    for small, large in crops(pairs, 2):
        assert large.shape == (6, 12, 12)
        first, second = (view[1] - view[2] for view in (small[:3], small[3:]))
        assert np.array_equal(first, second), "the same columns of both views"
        assert np.array_equal(small[0], small[3])
        assert (np.ptp(small[0], axis=1) == 0).all(), "never turned"
        mirrored = bool(first[0, 0] > first[0, -1])
        assert mirrored == bool(small[2, 0, 0] == 100)
        assert np.array_equal(large[:2, ::2, ::2], small[:2])
        swapped.add(mirrored)
    assert swapped == {True, False}


@pytest.mark.parametrize("kind", ["jpeg", "combined"])
@pytest.mark.parametrize("side", [72, 160], ids=["little room", "room"])
def test_jpeg_blocks_begin_at_the_corner_of_a_crop_as_at_that_of_a_file(kind: str, side: int, tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (side, side))
    still = {"sigma": (0.0, 0.0), "blur_sigma": (0.0, 0.0), "motion": (1.0, 1.0), "scale": (1.0, 1.0), "share": 1.0}
    harsh = Degradation(type=kind, quality=(5, 5), **still)
    data = CropDataset(PictureBank([Pair(tmp_path / "a.png")], 1024), harsh, 64, 0, 8)
    for i in range(8):
        steps = np.abs(np.diff(data[i].degraded.mean(0).numpy(), axis=1)).mean(axis=0)
        by_column = [steps[column::8].mean() for column in range(8)]
        assert int(np.argmax(by_column)) == 7, "the step from the last column of a block to the next block"


def test_a_small_crop_that_is_made_is_a_crop_of_the_shrunk_picture(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (96, 80))
    whole = shrink(pixels(tmp_path / "a.png"), 2)
    squares = [np.rot90(whole, turns) for turns in range(4)]
    squares += [square[:, ::-1] for square in squares]
    for small, _ in crops([Pair(tmp_path / "a.png")], 2, 4, 8):
        wanted = small.transpose(1, 2, 0)
        views = (np.lib.stride_tricks.sliding_window_view(square, (8, 8, 3))[:, :, 0] for square in squares)
        assert min(np.abs(view.astype(int) - wanted).max(axis=(2, 3, 4)).min() for view in views) <= 1


def test_validation_cuts_the_middle_of_both(tmp_path: Path) -> None:
    coded(tmp_path / "lr/x2/a.png", 20, 30)
    coded(tmp_path / "hr/a.png", 40, 60, 2)
    bank = PictureBank(find_pairs("super-resolution", tmp_path, "val", scale=2), 16, 2)
    example = ValidationDataset(bank, NOISE, 8, 0)[0]
    assert example.degraded.shape == (3, 8, 8)
    assert torch.equal(example.clean[:, ::2, ::2], example.degraded)
    assert ValidationDataset(bank, NOISE, 0, 0)[0].clean.shape == (3, 40, 60)


def test_pictures_whose_sides_are_no_multiple_lose_the_rest(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (31, 22))
    example = ValidationDataset(PictureBank([Pair(tmp_path / "a.png")], 16, 4), NOISE, 0, 0)[0]
    assert (example.degraded.shape, example.clean.shape) == ((3, 5, 7), (3, 20, 28))


def test_enlarging_a_shrunk_picture_comes_near_to_it(tmp_path: Path) -> None:
    smooth = pixels(photo(tmp_path / "a.png", (96, 80)))
    both = np.concatenate([smooth, smooth[::-1]], axis=2)
    assert np.abs(enlarge(shrink(both, 2), 2).astype(int) - both)[4:-4, 4:-4].max() < 4


@pytest.mark.parametrize(
    ("views", "words"),
    [(("a_L", "b_R"), "2 files do not pair: 2 without the other view, _L or _R"), (("a_L", "a_R", "c"), "without the")],
)
def test_views_without_their_partner_are_named(views: tuple[str, ...], words: str, tmp_path: Path) -> None:
    for view in views:
        photo(tmp_path / f"{view}.png")
    with pytest.raises(ConfigError, match=words):
        find_pairs("stereo", tmp_path, "train", scale=2, views=2)


def test_views_of_different_size_are_named(tmp_path: Path) -> None:
    for view, size in (("a_L", (20, 16)), ("a_R", (20, 18)), ("b_L", (20, 16)), ("b_R", (20, 16)), ("c_L", (20, 16))):
        photo(tmp_path / f"{view}.png", size)
    words = (
        r"2 files do not pair: 1 without the other view, _L or _R \(c_L.png\); "
        r"1 of another size than the right view \(a_L.png 20x16 but right 20x18\)"
    )
    with pytest.raises(ConfigError, match=words):
        find_pairs("stereo", tmp_path, "train", scale=2, views=2)


def test_sizes_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "lr/x2/a.png", (20, 16))
    photo(tmp_path / "hr/a.png", (41, 32))
    with pytest.raises(ConfigError, match="of another size than 2 times smaller than the clean one"):
        find_pairs("super-resolution", tmp_path, "train", scale=2)


def test_the_share_that_is_told_its_task(tmp_path: Path) -> None:
    pairs = [Pair(photo(tmp_path / f"{task}.png"), task=task) for task in (*TASKS, "haze_rain")]
    data = CropDataset(PictureBank(pairs, 16), NOISE, 8, 0, 300, told=0.5)
    seen = Counter(int(data[i].task) for i in range(300))
    assert set(seen) == {UNTOLD, *range(len(TASKS))}
    assert 150 < seen[UNTOLD] < 210, "half of five sixths, and the sixth that has no expert"
    assert collate([data[0], data[1]]).task.shape == (2,)
    untold = CropDataset(PictureBank(pairs, 16), NOISE, 8, 0, 300)
    assert {int(untold[i].task) for i in range(20)} == {UNTOLD}


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    length=st.integers(1, 40),
    order=st.sampled_from(["together", "sequential", "progressive"]),
    seed=st.integers(0, 9),
)
def test_every_example_is_drawn_from_the_tasks_of_its_moment(
    sizes: list[int], length: int, order: str, seed: int
) -> None:
    tasks = [name for name, size in zip("abcd", sizes, strict=False) for _ in range(size)]
    plan, names = TaskPlan(tasks, order, length), tuple(dict.fromkeys(tasks))
    rng = np.random.default_rng(seed)
    allowed = [plan.tasks_at(index) for index in range(length)]
    assert all(tasks[plan.draw(index, rng)] in allowed[index] for index in range(length))
    if order == "together":
        assert set(allowed) == {names}
    else:
        lengths = [len(set(names[: names.index(now[-1]) + 1])) for now in allowed]
        assert lengths == sorted(lengths), "in the order of the list"
        assert all(len(now) == (1 if order == "sequential" else n) for now, n in zip(allowed, lengths, strict=True))
        if length >= len(names):
            assert allowed[-1][-1] == names[-1]


def test_tasks_are_drawn_equally_however_many_pictures_they_have() -> None:
    plan, rng = TaskPlan(["a"] * 90 + ["b"] * 10, "together", 1), np.random.default_rng(0)
    assert 400 < sum(plan.draw(0, rng) < 90 for _ in range(1000)) < 600
