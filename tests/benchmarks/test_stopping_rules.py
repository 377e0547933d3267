"""The comparison of stopping rules: what each is credited with, and that the committed one is consistent."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "stopping_rules.py"
RESULTS = SCRIPT.parent / "results"


@pytest.fixture(scope="module")
def rules() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("stopping_rules", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def quality() -> np.ndarray:
    """PSNR of 40 pictures that gain less with every iteration, some much and some little."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.01, 1, (40, 1)) * np.array([0.3, 0.2, 0.1, 0.05])
    return np.hstack([np.zeros((40, 1)), np.cumsum(gains, axis=1)]) + rng.uniform(20, 30, (40, 1))


def test_knowing_the_gains_is_the_best_rule_and_knowing_nothing_is_a_fixed_number(
    rules: ModuleType, quality: np.ndarray
) -> None:
    rng = np.random.default_rng(1)
    found = rules.compare(
        {
            "true": np.diff(quality, axis=1),
            "blind": np.tile([4.0, 3.0, 2.0, 1.0], (40, 1)),
            "noise": rng.random((40, 4)),
        },
        quality,
    )
    np.testing.assert_allclose(found["blind"], 0, atol=1e-12)
    np.testing.assert_allclose(found["true"], found["oracle"], atol=5e-3)
    assert (found["oracle"] >= found["noise"] - 1e-9).all()
    assert found["oracle"].max() > 0.02


def test_a_halting_scalar_finds_a_gain_that_its_measures_tell(rules: ModuleType, quality: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    told = np.concatenate([np.diff(quality, axis=1), np.zeros((40, 1))], axis=1)[:, :, None]
    measures = np.concatenate([told, rng.random((40, 5, 3))], axis=2)
    seen = rules.Seen(quality, np.ones((40, 5)), measures)
    np.testing.assert_allclose(rules.linear(seen, seen), seen.gain, atol=0.02)


def test_no_committed_rule_beats_the_oracle() -> None:
    paths = sorted(RESULTS.glob("stopping-*.json"))
    assert paths
    for path in paths:
        found = json.loads(path.read_text())["over_fixed_db"]
        for rule, values in found.items():
            for value, best in zip(values, found["oracle"], strict=True):
                assert value["low"] <= value["gain"] <= value["high"], (path.name, rule)
                assert value["gain"] <= best["gain"] + 1e-9, (path.name, rule)
