"""Times callables against each other in interleaved rounds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from nafnet_deploy.errors import UsageError

Name = TypeVar("Name", bound=Hashable)


def round_order(names: Sequence[Name], round_number: int) -> tuple[Name, ...]:
    """Who runs when in a round: the list turned by one place per round (A B, B A, A B, ...).

    Over as many rounds as there are names, each takes every place once, so a machine that speeds up or slows
    down within rounds favours nobody.
    """
    turn = round_number % len(names)
    return (*names[turn:], *names[:turn])


def grid_order(steps: Sequence[int], labels: Sequence[str], round_number: int) -> tuple[tuple[int, str], ...]:
    """The same for engines at several N: all engines at one N next to each other, then all at the next.

    One round holds every N, so what the machine does from round to round adds nothing to the cost of an iteration.
    """
    return tuple((n, label) for n in round_order(steps, round_number) for label in round_order(labels, round_number))


def time_interleaved(
    callables: Mapping[Name, Callable[[], object]],
    runs: int,
    warmup: int,
    on_turn: Callable[[], None] | None = None,
    pause: float = 0.0,
    on_round: Callable[[], None] | None = None,
    order: Callable[[int], Sequence[Name]] | None = None,
) -> dict[Name, tuple[int, ...]]:
    """Runs every callable once per round and measures each turn.

    Args:
        callables: what to time, by name.
        runs: timed rounds, 1 or more.
        warmup: rounds before them whose times are dropped.
        on_turn: called after each turn, outside the measured time.
        pause: seconds of rest before each turn when several take turns. The threads of the one before (OpenMP's,
            ONNX Runtime's) go on spinning for a while after its work is done, on the cores that the next one needs.
        on_round: called before each timed round, outside the measured time.
        order: number of a round -> the names in their order; `round_order` unless told.

    Returns:
        Per name the nanoseconds of its turns, in round order. The garbage collector is off meanwhile.

    Raises:
        UsageError: no rounds, a negative warm-up or nothing to time.
    """
    if runs < 1 or warmup < 0 or pause < 0 or not callables:
        raise UsageError(
            f"{runs} runs after {warmup} warm-up rounds of {len(callables)} engines, {pause} s apart, cannot be timed.",
            "Use --runs 1 or more, --warmup and --pause 0 or more, and at least one engine.",
        )
    names = tuple(callables)
    times: dict[Name, list[int]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(-warmup, runs):
            if on_round is not None and number >= 0:
                on_round()
            for name in round_order(names, number) if order is None else order(number):
                call = callables[name]
                if len(names) > 1 or on_round is not None:
                    time.sleep(pause)
                start = time.perf_counter_ns()
                call()
                elapsed = time.perf_counter_ns() - start
                if number >= 0:
                    times[name].append(elapsed)
                if on_turn is not None:
                    on_turn()
    finally:
        if collecting:
            gc.enable()
    return {name: tuple(values) for name, values in times.items()}
