"""Which files make an example: every layout, and every way in which files fail to pair."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from nafnet_deploy.data.pairs import LAYOUTS, Pair, find_pairs
from nafnet_deploy.errors import ConfigError
from tests.data.folders import photo

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\"), min_size=1, max_size=12)


def stems(pairs: list[Pair]) -> list[str]:
    return [pair.clean.stem for pair in pairs]


def make(folder: Path, kinds: tuple[str, str], *names: str) -> None:
    for name in names:
        for kind in kinds:
            photo(folder / kind / name)


def test_clean_pictures_have_no_degraded_ones_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", ".c.png"):
        photo(tmp_path / name)
    (tmp_path / "d.png").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    assert find_pairs("clean", tmp_path, "train") == [Pair(tmp_path / "a.jpg"), Pair(tmp_path / "b.png")]


def test_pairs_match_by_stem_in_name_order(tmp_path: Path) -> None:
    photo(tmp_path / "degraded" / "b.jpg")
    photo(tmp_path / "degraded" / "a.png")
    photo(tmp_path / "clean" / "a.png")
    photo(tmp_path / "clean" / "b.png")
    assert find_pairs("paired", tmp_path, "val") == [
        Pair(tmp_path / "clean" / "a.png", tmp_path / "degraded" / "a.png"),
        Pair(tmp_path / "clean" / "b.png", tmp_path / "degraded" / "b.jpg"),
    ]


@given(names=st.sets(NAMES, min_size=1, max_size=6))
def test_any_file_name_pairs_with_its_like(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("names")
    visible = {name for name in names if not name.startswith(".")}
    template = photo(folder / "template.png")
    for kind in ("degraded", "clean"):
        (folder / kind).mkdir()
        for name in names:
            shutil.copy(template, folder / kind / f"{name}.png")
    if visible:
        assert {pair.clean.name for pair in find_pairs("paired", folder, "train")} == {f"{n}.png" for n in visible}
    else:
        with pytest.raises(ConfigError, match="holds no pictures"):
            find_pairs("paired", folder, "train")


def test_gopro_lies_flat_or_in_sequences(tmp_path: Path) -> None:
    make(tmp_path / "flat", ("blur", "sharp"), "1.png", "2.png")
    for sequence in ("GOPR0385_11_01", "GOPR0372_07_00"):
        make(tmp_path / "nested" / sequence, ("blur", "sharp", "blur_gamma"), "000047.png", "000048.png")
    assert stems(find_pairs("gopro", tmp_path / "flat", "train")) == ["1", "2"]
    nested = find_pairs("gopro", tmp_path / "nested", "train")
    assert [pair.clean.parts[-3:] for pair in nested] == [
        ("GOPR0372_07_00", "sharp", "000047.png"),
        ("GOPR0372_07_00", "sharp", "000048.png"),
        ("GOPR0385_11_01", "sharp", "000047.png"),
        ("GOPR0385_11_01", "sharp", "000048.png"),
    ]
    assert {pair.task for pair in nested} == {"deblurring"}


@pytest.mark.parametrize(("count", "validation"), [(5, 3), (6, 3), (1111, 556)])
def test_gopro_s_test_folder_is_halved_in_name_order(tmp_path: Path, count: int, validation: int) -> None:
    template = photo(tmp_path / "template.bmp", (2, 2)).read_bytes()
    for kind in ("blur", "sharp"):
        (tmp_path / "test" / kind).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "test" / kind / f"{i:06}.bmp").write_bytes(template)
    val, test, both = (find_pairs("gopro", tmp_path / "test", split) for split in ("val", "test", "train"))
    assert (len(val), len(test)) == (validation, count - validation)
    assert val + test == both
    assert stems(both) == [f"{i:06}" for i in range(count)]


def test_an_unreadable_frame_does_not_move_the_border_between_the_halves(tmp_path: Path) -> None:
    make(tmp_path, ("blur", "sharp"), *(f"{i}.png" for i in range(6)))
    (tmp_path / "blur" / "1.png").write_text("no picture")
    assert stems(find_pairs("gopro", tmp_path, "val")) == ["0", "2"]
    assert stems(find_pairs("gopro", tmp_path, "test")) == ["3", "4", "5"]


@pytest.fixture
def all_in_one(tmp_path: Path) -> Path:
    root = tmp_path / "train"
    photo(root / "denoising/BSD400/1.jpg")
    photo(root / "denoising/WED/00001.bmp")
    photo(root / "deraining/Rain100L/rainy/rain-001.png")
    photo(root / "deraining/Rain100L/gt/norain-001.png")
    photo(root / "dehazing/SOTS/gt/0001.png")
    for haze in ("0001_0.8_0.2.jpg", "0001_1_0.1.jpg"):
        photo(root / "dehazing/SOTS/hazy" / haze)
    make(root / "deblurring/GoPro", ("blur", "sharp"), "a.png")
    make(root / "lol/LOL-v1", ("low", "high"), "7.png")
    return tmp_path


def test_all_in_one_names_the_task_of_every_example(all_in_one: Path) -> None:
    told: list[str] = []
    pairs = find_pairs("all-in-one", all_in_one, "train", on_skip=told.append)
    assert told == []
    assert [(pair.task, pair.degraded and pair.degraded.stem, pair.clean.stem) for pair in pairs] == [
        ("denoising", None, "1"),
        ("denoising", None, "00001"),
        ("deraining", "rain-001", "norain-001"),
        ("dehazing", "0001_0.8_0.2", "0001"),
        ("dehazing", "0001_1_0.1", "0001"),
        ("deblurring", "a", "a"),
        ("low-light", "7", "7"),
    ]
    assert find_pairs("all-in-one", all_in_one / "train", "train") == pairs


def test_all_in_one_takes_the_tasks_that_are_asked_for(all_in_one: Path) -> None:
    pairs = find_pairs("all-in-one", all_in_one, "train", ("low-light", "denoising"))
    assert [pair.task for pair in pairs] == ["low-light", "denoising", "denoising"], "in the order asked for"


def test_all_in_one_says_what_is_missing_and_refuses_only_what_was_asked_for(all_in_one: Path) -> None:
    shutil.rmtree(all_in_one / "train/denoising/WED")
    shutil.rmtree(all_in_one / "train/dehazing/SOTS/gt")
    told: list[str] = []
    assert len(find_pairs("all-in-one", all_in_one, "train", on_skip=told.append)) == 4
    assert told == [f"{all_in_one} is used without denoising/WED, dehazing/SOTS/gt, which it lacks"]
    with pytest.raises(ConfigError, match=r"lacks dehazing/SOTS/gt.*"):
        find_pairs("all-in-one", all_in_one, "train", ("dehazing", "denoising"))
    with pytest.raises(
        ConfigError, match=r"lacks denoising/BSD400 \(clean pictures\), .* deraining/Rain100L \(rainy and gt\)"
    ):
        find_pairs("all-in-one", all_in_one / "train/lol", "train")


def test_validation_and_test_data_of_all_in_one_lie_below_test(all_in_one: Path) -> None:
    photo(all_in_one / "test/BSD68/1.png")
    make(all_in_one / "test/SOTS", ("hazy", "gt"), "1.png")
    told: list[str] = []
    for split in ("val", "test"):
        pairs = find_pairs("all-in-one", all_in_one, split, on_skip=told.append)
        assert [(pair.task, pair.clean.parent.parent.name) for pair in pairs] == [
            ("denoising", "test"),
            ("dehazing", "SOTS"),
        ]
    assert told == [f"{all_in_one} is used without Rain100L, GoPro, LOL-v1, which it lacks"] * 2
    with pytest.raises(ConfigError, match=r"lacks GoPro \(blur and sharp\)"):
        find_pairs("all-in-one", all_in_one, "val", ("deblurring",))


def test_cdd_11_s_degradations_share_their_clean_pictures(tmp_path: Path) -> None:
    make(tmp_path / "test", ("clear", "haze", "haze_rain"), "1.png", "2.png")
    pairs = find_pairs("cdd-11", tmp_path, "val", ("haze", "haze_rain"))
    assert [(pair.task, pair.clean.stem) for pair in pairs] == [
        ("haze", "1"),
        ("haze", "2"),
        ("haze_rain", "1"),
        ("haze_rain", "2"),
    ]
    with pytest.raises(ConfigError, match=r"lacks low \(pictures\), rain \(pictures\), snow"):
        find_pairs("cdd-11", tmp_path, "val")
    with pytest.raises(ConfigError, match="Did you mean 'haze_rain'"):
        find_pairs("cdd-11", tmp_path, "val", ("haze_rian",))


def test_all_misfits_come_in_one_message_with_counts_and_the_first_names(tmp_path: Path) -> None:
    make(tmp_path, ("degraded", "clean"), "good.png", "small.png", "twin.png")
    for i in range(5):
        photo(tmp_path / "degraded" / f"lonely{i}.png")
    photo(tmp_path / "clean" / "unused.png")
    photo(tmp_path / "clean" / "twin.jpg")
    photo(tmp_path / "degraded" / "small.png", (12, 10))
    with pytest.raises(ConfigError) as caught:
        find_pairs("paired", tmp_path, "train")
    assert len(str(caught.value).splitlines()) == 1
    for words in (
        "8 files do not pair",
        "5 degraded without a clean one (degraded/lonely0.png, degraded/lonely1.png, degraded/lonely2.png and 2 more)",
        "1 clean without a degraded one (clean/unused.png)",
        "1 with the name of another but for the suffix (clean/twin.png)",
        "1 of another size than the clean one (degraded/small.png 12x10 but clean 24x16)",
        "Give both files of a pair the same name",
    ):
        assert words in str(caught.value)


def test_sizes_are_compared_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo(tmp_path / "degraded" / "a.png", (16, 24))
    photo(tmp_path / "clean" / "a.jpg", (24, 16))
    Image.open(tmp_path / "clean" / "a.jpg").save(tmp_path / "clean" / "a.jpg", exif=exif)
    assert len(find_pairs("paired", tmp_path, "train")) == 1


def test_unreadable_files_are_dropped_and_counted(tmp_path: Path) -> None:
    make(tmp_path, ("degraded", "clean"), "a.png", "b.png", "c.png")
    (tmp_path / "degraded" / "a.png").write_text("no picture")
    (tmp_path / "clean" / "c.png").write_bytes(b"")
    told: list[str] = []
    assert stems(find_pairs("paired", tmp_path, "train", on_skip=told.append)) == ["b"]
    assert len(told) == 1
    assert "2 examples are left out" in told[0]
    assert f"{Path('degraded', 'a.png')} is not a picture" in told[0]
    assert f"{Path('clean', 'c.png')} is empty" in told[0]
    (tmp_path / "clean" / "b.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="no usable picture"):
        find_pairs("paired", tmp_path, "train")


@pytest.mark.parametrize(
    ("layout", "made", "words"),
    [
        ("pairs", [], "Did you mean 'paired'?"),
        ("clean", [], "holds no pictures"),
        ("paired", ["degraded"], "lacks the folder clean. Layout paired needs degraded and clean in it."),
        ("paired", [], "lacks the folders degraded and clean."),
        ("paired", ["train/degraded", "train/clean"], "Did you mean"),
        ("paired", ["degraded", "clean"], "clean holds no pictures"),
        ("gopro", [], "lacks the folders blur and sharp."),
        ("gopro", ["seq/blur"], "seq lacks the folder sharp."),
        ("all-in-one", [], "lacks denoising/BSD400"),
    ],
)
def test_missing_and_empty_folders_are_one_clear_line(tmp_path: Path, layout: str, made: list[str], words: str) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        find_pairs(layout, tmp_path, "train")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_data_set_is_named(tmp_path: Path, layout: str) -> None:
    scale = 2 if layout in ("super-resolution", "stereo") else 1
    with pytest.raises(ConfigError, match="nowhere"):
        find_pairs(layout, tmp_path / "nowhere", "train", scale=scale)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("paired", "valid"), "no split 'valid'.*'val'"),
        (("paired", "train", ("denoising",)), "does nothing for layout paired"),
        (("all-in-one", "train", ("denoise",)), "Did you mean 'denoising'"),
    ],
)
def test_unknown_splits_and_tasks_name_the_nearest(tmp_path: Path, arguments: tuple, words: str) -> None:
    layout, *rest = arguments
    with pytest.raises(ConfigError) as caught:
        find_pairs(layout, tmp_path, *rest)
    assert re.search(words, str(caught.value))
