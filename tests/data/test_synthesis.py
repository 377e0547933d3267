"""Degraded folders and pairs: names, the split, and randomness that belongs to one picture alone."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from nafnet_deploy.data.degradations import TYPES, Degradation
from nafnet_deploy.data.outputs import distinct_stems
from nafnet_deploy.data.pairs import find_pairs
from nafnet_deploy.data.synthesis import (
    RANGES,
    SynthesisConfig,
    degrade_folder,
    generator,
    in_validation,
    read_degradation,
)
from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import read_picture
from tests.data.folders import photo, pixels, snapshot
from tests.pictures import png16

JPEG = SynthesisConfig(Degradation("jpeg"))
PAIRS = SynthesisConfig(Degradation("combined"), create_paired=True, val_share=0.3, versions=2)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "c.bmp", "d.png", "e.png", "f.png"):
        photo(tmp_path / "clean" / name, (40, 32))
    return tmp_path / "clean"


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_writes_what_its_degradation_computes(clean: Path, tmp_path: Path, kind: str) -> None:
    degradation = Degradation(kind)
    result = degrade_folder(clean, tmp_path / "out", SynthesisConfig(degradation, seed=3))
    assert (result.written, result.failed) == ({"": 6}, ())
    expected = degradation(read_picture(clean / "b.jpg").pixels, generator(3, "b.jpg", 1))
    assert np.array_equal(pixels(tmp_path / "out" / "b.png"), np.round(np.clip(expected, 0, 1) * 255))


def test_a_gaussian_blur_is_scipy_s_own(clean: Path, tmp_path: Path) -> None:
    settings = Degradation("blur", blur_sigma=(2, 2), motion=(1, 1))  # a motion of one pixel changes nothing
    degrade_folder(clean, tmp_path / "out", SynthesisConfig(settings, versions=8))
    picture = read_picture(clean / "a.png").pixels
    blurred = np.round(ndimage.gaussian_filter(picture, (2, 2, 0), mode="mirror") * 255)
    kinds = set()
    for path in (tmp_path / "out").glob("a*.png"):
        found = pixels(path).astype(float)
        kinds.add("gauss" if np.abs(found - blurred).max() <= 1 else "motion")
        assert min(np.abs(found - blurred).max(), np.abs(found - picture * 255).max()) <= 1
    assert kinds == {"gauss", "motion"}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(clean: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        degrade_folder(clean, tmp_path / name, dataclasses.replace(JPEG, seed=seed, versions=2))
    assert snapshot(tmp_path / "first") == snapshot(tmp_path / "again")
    other = snapshot(tmp_path / "other")
    assert all(content != other[name] for name, content in snapshot(tmp_path / "first").items())


def test_an_added_picture_changes_no_other(clean: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(PAIRS, val_share=0.5)
    degrade_folder(clean, tmp_path / "before", config)
    photo(clean / "aa.png", (40, 32))
    degrade_folder(clean, tmp_path / "after", config)
    before, after = snapshot(tmp_path / "before"), snapshot(tmp_path / "after")
    assert {name for name in after if name not in before and "/aa" not in name} == set()
    assert all(after[name] == content for name, content in before.items())


def test_versions_differ_and_carry_their_number(clean: Path, tmp_path: Path) -> None:
    degrade_folder(clean, tmp_path / "out", SynthesisConfig(Degradation("noise"), versions=3))
    files = [tmp_path / "out" / name for name in ("a.png", "a_v2.png", "a_v3.png")]
    assert len(snapshot(tmp_path / "out")) == 18
    assert len({path.read_bytes() for path in files}) == 3


def test_pairs_are_what_training_finds_with_clean_pixels_untouched(clean: Path, tmp_path: Path) -> None:
    result = degrade_folder(clean, tmp_path / "out", PAIRS)
    assert sum(result.written.values()) == 12
    sides: dict[str, set[str]] = {}
    for split in ("train", "val"):
        pairs = find_pairs("paired", tmp_path / "out" / split, split)
        assert len(pairs) == result.written[split] > 0
        for pair in pairs:
            assert pair.degraded is not None
            source = next(clean.glob(f"{pair.clean.stem.removesuffix('_v2')}.*"))
            assert np.array_equal(read_picture(pair.clean).pixels, read_picture(source).pixels)
            assert not np.array_equal(read_picture(pair.degraded).pixels, read_picture(source).pixels)
            sides.setdefault(source.name, set()).add(split)
    assert sorted(map(len, sides.values())) == [1] * 6, "every version of a picture lies on one side"
    assert (tmp_path / "out/train/clean").exists()


def test_a_clean_png_is_copied_byte_for_byte(clean: Path, tmp_path: Path) -> None:
    degrade_folder(clean, tmp_path / "out", PAIRS)
    (copy,) = (tmp_path / "out").glob("*/clean/a.png")
    assert copy.read_bytes() == (clean / "a.png").read_bytes()
    assert not copy.samefile(clean / "a.png")


@given(
    names=st.sets(st.text("abcäß /._-", min_size=1, max_size=6), min_size=2, max_size=40),
    share=st.floats(0.01, 0.99),
    seed=st.integers(-5, 5),
)
def test_the_split_leaves_no_side_empty_and_draws_for_each_name_alone(names: set[str], share: float, seed: int) -> None:
    chosen = in_validation(sorted(names), share, seed)
    assert 0 < len(chosen) < len(names)
    assert chosen == in_validation(sorted(names, reverse=True), share, seed)
    more = in_validation(sorted(names | {"new"}), share, seed)
    assert len((more ^ chosen) - {"new"}) <= 1


def test_the_split_has_about_the_share_that_was_asked_for() -> None:
    names = [f"{i}.png" for i in range(2000)]
    assert len(in_validation(names, 0.1, 0)) == pytest.approx(200, abs=45)
    assert in_validation(names, 0, 0) == set()
    assert all(in_validation(["only.png"], 0.9, seed) == set() for seed in range(20)), "training is never empty"


@given(
    st.sets(st.from_regex(r"\A([ab]/)?[aAb](_v2)?(\.png)?\.(png|jpg)\Z"), min_size=1, max_size=12),
    st.sampled_from([("",), ("", "_v2"), ("", "_v2", "_v3")]),
)
def test_no_two_pictures_ever_share_a_name(names: set[str], endings: tuple[str, ...]) -> None:
    paths = [PurePosixPath(name) for name in sorted(names)]
    stems = distinct_stems(paths, endings)
    written = [(stem + ending).lower() for stem in stems for ending in endings]
    assert len(set(written)) == len(written)
    alone = distinct_stems(paths[:1], endings)
    assert alone == [str(paths[0].with_suffix(""))]


def test_names_that_collide_keep_their_suffix(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a_v2.png"):
        photo(tmp_path / "clean" / name)
    degrade_folder(tmp_path / "clean", tmp_path / "out", dataclasses.replace(JPEG, versions=2))
    assert sorted(snapshot(tmp_path / "out")) == [
        "a.png",
        "a.png.png",
        "a.png_v2.png",
        "a_v2.png",
        "a_v2.png.png",
        "a_v2.png_v2.png",
    ]


def test_sub_folders_are_kept_and_flattened_for_pairs(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    for name in ("a.png", "x/a.png", "x/y/b.png", ".hidden/c.png"):
        photo(clean / name)
    degrade_folder(clean, tmp_path / "plain", dataclasses.replace(JPEG, recursive=True))
    assert sorted(snapshot(tmp_path / "plain")) == ["a.png", "x/a.png", "x/y/b.png"]
    degrade_folder(
        clean, tmp_path / "pairs", dataclasses.replace(JPEG, recursive=True, create_paired=True, val_share=0)
    )
    assert sorted(snapshot(tmp_path / "pairs")) == [
        f"train/{kind}/{name}.png" for kind in ("clean", "degraded") for name in ("a", "x_a", "x_y_b")
    ]


def test_grey_stays_grey_with_noise_of_the_stated_strength(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    Image.new("L", (200, 150), 128).save(tmp_path / "clean" / "a.png")
    degrade_folder(tmp_path / "clean", tmp_path / "out", SynthesisConfig(Degradation("noise", sigma=(20, 20))))
    found = pixels(tmp_path / "out" / "a.png")
    assert found.shape == (150, 200)
    assert found.std() == pytest.approx(20, rel=0.03)


def test_transparency_and_sixteen_bits_are_kept(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    rgba = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "clean" / "alpha.png")
    deep = np.random.default_rng(1).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    (tmp_path / "clean" / "deep.png").write_bytes(png16(deep))
    config = SynthesisConfig(Degradation("motion"), create_paired=True, val_share=0)
    degrade_folder(tmp_path / "clean", tmp_path / "out", config)
    alpha, clean_alpha = (read_picture(tmp_path / "out/train" / k / "alpha.png") for k in ("degraded", "clean"))
    assert alpha.alpha is not None
    assert np.array_equal(alpha.alpha, rgba[..., 3])
    assert np.array_equal(clean_alpha.pixels, rgba[..., :3].astype(np.float32) / np.float32(255))
    found = read_picture(tmp_path / "out/train/degraded/deep.png")
    assert found.bits == 16
    assert len(np.unique(np.round(found.pixels * 65535))) > 256, "not rounded to 8 bits on the way"


def test_orientation_is_applied_to_both_of_a_pair(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png"):
        path = photo(tmp_path / "clean" / f"{suffix}.{suffix}", (40, 24))
        Image.open(path).save(path, exif=exif)
    degrade_folder(tmp_path / "clean", tmp_path / "out", dataclasses.replace(JPEG, create_paired=True, val_share=0))
    for pair in find_pairs("paired", tmp_path / "out/train", "train"):
        assert read_picture(pair.clean).pixels.shape == (40, 24, 3)


def test_a_full_disk_ends_the_run_and_leaves_no_half_of_a_pair(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []

    def full_after_two(source: Path, target: Path) -> None:
        copies.append(target)
        Path(target).write_bytes(b"begun")
        if len(copies) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", full_after_two)
    with pytest.raises(ImageError, match=r"clean.[a-f]\.png cannot be written: No space left on device") as caught:
        degrade_folder(clean, tmp_path / "out", dataclasses.replace(PAIRS, versions=1))
    assert ".part" not in str(caught.value)
    files = snapshot(tmp_path / "out")
    assert not [name for name in files if "part" in name]
    halves = [{Path(name).name for name in files if f"/{kind}/" in name} for kind in ("degraded", "clean")]
    assert halves[0] == halves[1] != set()


def test_a_picture_may_not_change_sides(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    degrade_folder(clean, out, PAIRS)
    before = snapshot(out)
    names = sorted(path.name for path in clean.iterdir())
    seed = next(s for s in range(1, 99) if in_validation(names, 0.3, s) != in_validation(names, 0.3, 0))
    with pytest.raises(UsageError, match="no picture may be on both sides"):
        degrade_folder(clean, out, dataclasses.replace(PAIRS, seed=seed, overwrite=True))
    assert snapshot(out) == before
    degrade_folder(clean, out, dataclasses.replace(PAIRS, overwrite=True))
    assert snapshot(out) == before


def test_two_folders_may_share_one_set_of_pairs(clean: Path, tmp_path: Path) -> None:
    photo(tmp_path / "more" / "z.png")
    photo(tmp_path / "more" / "y.png")
    degrade_folder(clean, tmp_path / "out", PAIRS)
    degrade_folder(tmp_path / "more", tmp_path / "out", PAIRS)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2 * 2 * 8


def test_every_type_knows_its_ranges() -> None:
    assert set(RANGES) == set(TYPES)
    for kind, names in RANGES.items():
        for name in names:
            default = getattr(Degradation(), name)
            assert read_degradation(kind, {name: default}) == Degradation(kind)
    with pytest.raises(ConfigError, match=r"--blur-sigma does nothing for --type noise\. .*reads --sigma"):
        read_degradation("noise", {"blur_sigma": (1, 2)})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"val_share": 1.0}, "--val-share 1.0"),
        ({"val_share": float("nan")}, "--val-share nan"),
        ({"versions": 0}, "--versions 0"),
        ({"format": "gif"}, "--format gif"),
        ({"format": ".png"}, "--format .png"),
    ],
)
def test_impossible_settings_are_named(fields: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SynthesisConfig(**fields)


def test_further_versions_of_an_earlier_run_are_named_and_nothing_is_removed(clean: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", dataclasses.replace(PAIRS, versions=1, overwrite=True, val_share=0.0)
    degrade_folder(clean, out, dataclasses.replace(one, versions=3))
    before = snapshot(out)
    with pytest.raises(UsageError, match=r"a_v2\.png looks like a version of a\.png"):
        degrade_folder(clean, out, one)
    assert snapshot(out) == before
    degrade_folder(clean, out, dataclasses.replace(one, versions=3))
