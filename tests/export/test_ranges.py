"""The range scan and the pictures it runs over."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ExportError, ImageError, UsageError
from nafnet_deploy.export.calibration import MOST_PICTURES, folder_inputs, seeded_inputs
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.ranges import STATE, TRUNK, members, scan
from tests.weights import seeded, stir

CONFIG = ModelConfig(
    architecture="nafnet-rr",
    width=4,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("middle",),
    reasoning_blocks=1,
    iterations=3,
)
PLAIN = ModelConfig(width=4, encoder_blocks=(0,), middle_blocks=1, decoder_blocks=(0,))


def test_largest_values_are_those_that_the_network_computes() -> None:
    folded = fold(stir(seeded(PLAIN)))
    middle, seen = folded.middle_blks[0], {}
    for name in ("project", "close"):
        getattr(middle, name).register_forward_hook(lambda m, i, y, name=name: seen.update({name: y}))
    middle.mix.register_forward_hook(lambda m, i, y: seen.update(gate=y))
    middle.feed.register_forward_hook(lambda m, i, y: seen.update(feed=y))
    middle.register_forward_hook(lambda m, i, y: seen.update(before=i[0], after=y))
    x = seeded_inputs(PLAIN)[0][..., :32, :32]
    found = scan(folded, [x], 1)
    with torch.inference_mode():
        folded(torch.from_numpy(x))
    largest = max(float(seen[k].abs().max()) for k in ("gate", "feed"))
    assert found.classes["gate product"] == (pytest.approx(largest),)
    deviation = seen["before"][:, 1:]  # the first channel of the reflected trunk is the mean
    assert found.classes["squared deviation"][0] >= float(deviation.square().max()) * 0.999
    assert found.peaks[TRUNK].value >= float(seen["after"].abs().max())
    assert STATE not in found.peaks
    block = {"middle_blks.0", "middle_blks.0.project", "middle_blks.0.close"}
    assert set(found.peaks) == {TRUNK, "intro", "downs.0", "ups.0.0", "ending"} | block


def test_a_network_of_one_channel_deviates_from_its_mean_by_nothing() -> None:
    config = dataclasses.replace(PLAIN, width=1, encoder_blocks=(1,), middle_blocks=0)
    found = scan(fold(stir(seeded(config))), [seeded_inputs(config)[0][..., :32, :32]], 1)
    assert found.classes["squared deviation"] == (0,)


def test_every_iteration_is_scanned_and_the_network_left_alone() -> None:
    folded = fold(stir(seeded(CONFIG)))
    found = scan(folded, seeded_inputs(CONFIG)[:2], 3)
    assert all(len(values) == 3 for values in found.classes.values())
    first, second, third = found.classes[STATE]
    assert first < second <= third, "a run of n iterations passes through all before them"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in folded.modules())


def test_every_conv_belongs_to_exactly_one_branch() -> None:
    folded = fold(seeded(CONFIG))
    owned = [id(m) for _, m in members(folded) if isinstance(m, torch.nn.Conv2d)]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(m) for m in folded.modules() if isinstance(m, torch.nn.Conv2d)}


def test_network_that_overflows_in_float32_is_refused() -> None:
    folded = fold(seeded(PLAIN))
    folded.intro.weight.fill_(3e38)
    with pytest.raises(ExportError, match="not finite"):
        scan(folded, seeded_inputs(PLAIN), 1)


def test_seeded_pictures_hold_the_extremes() -> None:
    inputs = seeded_inputs(ModelConfig(width=4))
    assert all(x.shape == (1, 3, 128, 128) and x.dtype == np.float32 for x in inputs)
    assert [(x.min(), x.max()) for x in inputs[2:]] == [(0, 0), (1, 1), (0, 1), (0, 1)]


def write(path: Path, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_folder_gives_middles_of_its_pictures_at_sizes_the_network_takes(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 300, 401)
    write(tmp_path / "b.png", 5, 7)
    (tmp_path / "notes.txt").write_text("no picture")
    inputs, words = folder_inputs(tmp_path, CONFIG)
    assert [x.shape for x in inputs] == [(1, 3, 256, 256), (1, 3, 8, 8)]
    assert words == f"2 of 2 pictures of {tmp_path.name}, at most 256x256"
    whole = np.asarray(Image.open(tmp_path / "a.png"), np.float32) / 255
    np.testing.assert_allclose(inputs[0][0], whole[22:278, 72:328].transpose(2, 0, 1))


def test_large_folder_is_sampled_evenly(tmp_path: Path) -> None:
    for i in range(2 * MOST_PICTURES):
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / f"{i:03}.png")
    inputs, words = folder_inputs(tmp_path, CONFIG)
    assert words.startswith(f"{MOST_PICTURES} of {2 * MOST_PICTURES}")
    assert [round(float(x[0, 0, 0, 0]) * 255) for x in inputs] == list(range(0, 2 * MOST_PICTURES, 2))


def test_folder_that_is_none_empty_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        folder_inputs(tmp_path / "none", CONFIG)
    with pytest.raises(UsageError, match="no pictures"):
        folder_inputs(tmp_path, CONFIG)
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError):
        folder_inputs(tmp_path, CONFIG)
