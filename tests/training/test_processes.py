"""Training as a process: killed and resumed, and two of them as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.parity.inputs import natural_batch

TRAINEE = Path(__file__).with_name("trainee.py")
RECIPE = """
name = "tiny"
preset = "tiny"
[data]
train = "{pictures}"
val = "{pictures}"
crop = 16
batch = 4
[schedule]
steps = 8
warmup = 2
lr = 2e-3
iterations = 2
[optimizer]
accumulate = {accumulate}
ema = 0.9
[validation]
every = 4
degradation = {{ sigma = [25, 25] }}
[machine]
accelerator = "cpu"
devices = {devices}
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        pixels = natural_batch((1, 3, 48, 64), seed)[0].transpose(1, 2, 0)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


class Run:
    """One training run in a folder of its own."""

    def __init__(self, folder: Path, pictures: Path, devices: int = 1, accumulate: int = 1) -> None:
        folder.mkdir()
        self.out, self.log, self.recipe = folder / "run", folder / "log.jsonl", folder / "recipe.toml"
        self.recipe.write_text(RECIPE.format(pictures=pictures, devices=devices, accumulate=accumulate))

    def __call__(self, *arguments: str) -> int:
        words = [sys.executable, str(TRAINEE), str(self.recipe), str(self.out), str(self.log), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(words, env=environment, capture_output=True, timeout=300).returncode

    def steps(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def weights(self) -> dict[str, torch.Tensor]:
        return load_checkpoint(self.out / "last.safetensors").weights


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole") / "one", pictures)
    assert run() == 0
    return run


def test_a_run_killed_between_two_checkpoints_resumes_on_the_same_curve(
    whole: Run, pictures: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "killed", pictures)
    assert run("--kill-at", "6") == -signal.SIGKILL
    assert [step for step, _, _ in run.steps()][-1] == 6
    before = [line for line in run.steps() if line[0] <= 4]  # the state on disk is that of step 4
    run.log.write_text("")
    assert run("--resume") == 0
    assert before + run.steps() == whole.steps(), "losses and scores are equal to the last bit"
    assert all(torch.equal(w, whole.weights()[name]) for name, w in run.weights().items())


@pytest.mark.parametrize(("devices", "accumulate"), [(2, 1), (1, 2), (2, 2)], ids=str)
def test_processes_and_parts_change_nothing_but_rounding(
    whole: Run, pictures: Path, tmp_path: Path, devices: int, accumulate: int
) -> None:
    run = Run(tmp_path / "split", pictures, devices, accumulate)
    assert run() == 0
    assert [line[0] for line in run.steps()] == [line[0] for line in whole.steps()]
    for (_, loss, scores), (_, expected, expected_scores) in zip(run.steps(), whole.steps(), strict=True):
        assert loss == pytest.approx(expected, abs=2e-4)
        if scores:
            assert np.allclose(scores, expected_scores, atol=1e-3)
    for name, weight in run.weights().items():
        assert (weight - whole.weights()[name]).abs().max() < 2e-4
