"""The machine's noise and its verdict; synthetic readings, and a real load in the slow test."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from nafnet_deploy.benchmarks.noise import Noise, NoiseMeter, Usage, others_share


def readings(spread: float, count: int = 40) -> tuple[float, ...]:
    rng = np.random.default_rng(0)
    return tuple(2.0 + 2.0 * spread * rng.random(count))


@pytest.mark.parametrize(
    ("spread", "others", "verdict"),
    [
        (0.02, 0.01, "clean"),
        (0.02, None, "clean"),
        (0.5, 0.01, "noisy"),
        (0.5, None, "noisy"),
        (0.02, 0.4, "noisy"),  # a load that is always there spreads nothing
    ],
)
def test_verdict(spread: float, others: float | None, verdict: str) -> None:
    noise = Noise(readings(spread), others)
    assert noise.verdict == verdict
    assert verdict in noise.words()


def test_too_few_readings_say_nothing() -> None:
    assert Noise((2.0, 2.0), 0.0).verdict == "unknown"
    assert "unknown" in Noise((2.0,), None).words()
    assert Noise((2.0,), 0.9).verdict == "noisy"


def test_one_slow_reading_among_many_is_no_noise() -> None:
    assert Noise((*readings(0.02), 9.0), None).verdict == "clean"


def test_the_share_of_others_leaves_our_own_work_out() -> None:
    began = Usage(busy=100.0, own=10.0, total=400.0)
    assert others_share(began, Usage(busy=110.0, own=20.0, total=420.0)) == 0.0
    assert others_share(began, Usage(busy=110.0, own=15.0, total=420.0)) == pytest.approx(0.25)
    assert others_share(began, Usage(busy=100.1, own=10.0, total=400.2)) is None
    assert others_share(None, began) is None


def test_the_meter_reads_before_between_and_after() -> None:
    meter = NoiseMeter()
    for _ in range(4):
        meter.read()
    noise = meter.result()
    assert len(noise.gemm_ms) == 6
    assert min(noise.gemm_ms) > 0


@pytest.mark.slow
def test_a_loaded_machine_is_noisy() -> None:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.5)  # until they run
        meter = NoiseMeter()
        for _ in range(20):
            meter.read()
        assert meter.result().verdict == "noisy"
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
