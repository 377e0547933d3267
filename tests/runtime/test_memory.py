"""The memory budget follows what the machine says, and survives machines that say nothing."""

from __future__ import annotations

import pytest

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


def test_this_machine_has_some_memory() -> None:
    available = memory.available_memory()
    assert available is not None
    assert available > 2**20
