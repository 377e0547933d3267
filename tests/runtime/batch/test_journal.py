"""The journal: whatever it was cut off at, it tells the truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.errors import UsageError
from nafnet_deploy.runtime.batch.jobs import Done, Job
from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS, Entry, Journal, read_entries

ENTRIES = [Entry(f"x/{n}.png", 10 * n, n, "options", f"x/{n}.png", f"{n}.png", 3) for n in range(5)]
LINES = [json.dumps(dataclasses.asdict(entry)).encode() + b"\n" for entry in ENTRIES]


@given(st.integers(0, sum(map(len, LINES))))
def test_a_journal_cut_anywhere_gives_the_entries_that_are_whole(cut: int) -> None:
    content = b"".join(LINES)[:cut]
    whole = sum(len(b"".join(LINES[: n + 1])) - 1 <= cut for n in range(5))
    assert read_entries(content) == ENTRIES[:whole]


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(LINES)), max_size=8))
def test_foreign_lines_are_passed_over(pieces: list[bytes]) -> None:
    assert all(entry in ENTRIES for entry in read_entries(b"\n".join(pieces)))


def test_a_line_that_leads_out_of_the_folder_is_passed_over() -> None:
    for part in ("../a.png", "/etc/a.png", "x/y.png"):
        assert read_entries(json.dumps({**dataclasses.asdict(ENTRIES[0]), "part": part}).encode()) == []


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    return folder, out


def finished(folder: Path, out: Path, name: str, content: bytes = b"abc", stamp: tuple[int, int] = (7, 8)) -> Done:
    """A result that waits for its name."""
    part = out / PARTS / f"part-{name}"
    part.write_bytes(content)
    return Done(Job(0, folder / name, out / name, part, *stamp), len(content))


def test_a_kill_between_the_line_and_the_name_is_made_good(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = places
    journal = Journal(folder, out, "o")
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "publish", lambda *_: None)
        journal.commit(finished(folder, out, "a.png"))
    finished(folder, out, "b.png")  # no line was written about this one
    journal._file.close()  # as the kernel does for a killed process
    assert not (out / "a.png").exists()
    with Journal(folder, out, "o") as again:
        assert (out / "a.png").read_bytes() == b"abc"
        assert again.is_done(folder / "a.png", out / "a.png", 7, 8)
        assert not again.is_done(folder / "b.png", out / "b.png", 7, 8)
        assert not list(again.parts.iterdir())
    assert sorted(p.name for p in out.iterdir()) == [JOURNAL, "a.png"]


def test_ctrl_c_between_the_line_and_the_name_leaves_both(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = places

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt), Journal(folder, out, "o") as journal:
        journal.commit(finished(folder, out, "a.png"))
    assert (out / "a.png").read_bytes() == b"abc"
    with Journal(folder, out, "o") as again:
        assert again.is_done(folder / "a.png", out / "a.png", 7, 8)


def test_a_picture_that_could_not_be_asked_is_never_taken_for_unchanged(places: tuple[Path, Path]) -> None:
    folder, out = places
    with Journal(folder, out, "o") as journal:
        journal.commit(finished(folder, out, "a.png", stamp=(-1, -1)))
    with Journal(folder, out, "o") as journal:
        assert not journal.is_done(folder / "a.png", out / "a.png", -1, -1)


def test_an_entry_counts_only_for_the_same_picture_options_and_result(places: tuple[Path, Path]) -> None:
    folder, out = places
    source, target = folder / "a.png", out / "a.png"
    with Journal(folder, out, "o") as journal:
        journal.commit(finished(folder, out, "a.png"))
    with Journal(folder, out, "o") as journal:
        assert journal.is_done(source, target, 7, 8)
        assert not journal.is_done(source, target, 6, 8)
        assert not journal.is_done(source, target, 7, 9)
        (out / "a.png").write_bytes(b"ab")
        assert not journal.is_done(source, target, 7, 8)
    with Journal(folder, out, "other") as journal:
        assert not journal.is_done(source, target, 7, 8)


def test_what_was_written_with_other_options_since_is_not_done(places: tuple[Path, Path]) -> None:
    folder, out = places
    for options, content in (("two", b"222"), ("three", b"333")):
        with Journal(folder, out, options) as journal:
            journal.commit(finished(folder, out, "a.png", content))
    with Journal(folder, out, "two") as journal:
        assert not journal.is_done(folder / "a.png", out / "a.png", 7, 8), "as long, and three's"


def test_a_result_that_has_another_name_now_is_not_done(places: tuple[Path, Path]) -> None:
    folder, out = places
    with Journal(folder, out, "o") as journal:
        journal.commit(finished(folder, out, "a.png"))
    with Journal(folder, out, "o") as journal:
        assert not journal.is_done(folder / "a.png", out / "a.jpg", 7, 8)


def test_a_torn_line_is_closed_before_the_next(places: tuple[Path, Path]) -> None:
    folder, out = places
    (out / JOURNAL).write_bytes(LINES[0] + LINES[1][:20])
    with Journal(folder, out, "o") as journal:
        journal.commit(finished(folder, out, "a.png"))
    assert [entry.source for entry in read_entries((out / JOURNAL).read_bytes())] == ["x/0.png", "a.png"]


def test_two_runs_never_share_an_output_folder(places: tuple[Path, Path]) -> None:
    with Journal(*places, "o"), pytest.raises(UsageError, match="another run"):
        Journal(*places, "o")
    Journal(*places, "o").close()
