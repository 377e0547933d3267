"""The memory budget follows what the machine says, and survives machines that say nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.runtime import memory


def test_the_budget_is_a_quarter_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_meminfo", lambda: 8 * 2**30)
    monkeypatch.setattr(memory, "_container", lambda: None)
    assert memory.memory_budget() == 2 * 2**30


def test_a_container_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_meminfo", lambda: 8 * 2**30)
    monkeypatch.setattr(memory, "_container", lambda: 2**30)
    assert memory.available_memory() == 2**30


def test_a_machine_that_says_nothing_gets_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(memory, "_meminfo", lambda: None)
    monkeypatch.setattr(memory, "_container", lambda: None)
    monkeypatch.setattr(memory.os, "sysconf", unknown)
    assert memory.memory_budget() == 2**30


def test_processes_share_what_is_left_of_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_memory", lambda: 100)
    assert [memory.shared_limit(limit, 3) for limit in (None, 1000, 50)] == [None, 300, 0]
    assert memory.shared_limit(1000, 0) == 900  # of a cluster whose machines are too small for one


def test_this_machine_has_some_memory() -> None:
    available = memory.available_memory()
    assert available is not None
    assert available > 2**20


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1500MB", 1_500_000_000), ("1.5 GB", 1_500_000_000), ("800MiB", 800 * 2**20), ("2gib", 2**31), ("7b", 7)],
)
def test_an_amount_of_memory_is_read_with_its_unit(text: str, amount: int) -> None:
    assert memory.parse_memory(text) == amount


@given(st.text(max_size=12))
def test_any_other_text_is_an_amount_or_one_line_with_a_mend(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert memory.parse_memory(text) >= 1


@pytest.mark.parametrize("text", ["", "1500", "0MB", "-3MB", "nan GB", "1e9B", "MB", "3TB"])
def test_an_amount_without_a_unit_or_a_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an amount"):
        memory.parse_memory(text)


def test_what_this_process_holds_grows_with_it() -> None:
    before = memory.resident_memory()
    block = bytearray(b"x") * (64 * 2**20)
    assert memory.resident_memory() - before > 32 * 2**20
    del block
