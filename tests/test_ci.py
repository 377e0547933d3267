"""What guards the repository: the workflow runs `.ci/run`, and that ends when one released network fails its parity."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nafnet_deploy.released import released_models

ROOT = Path(__file__).parents[1]
STUB = """#!/bin/sh
echo "$@" >> {log}
case "$*" in {fails}) exit 5;; esac
"""


def make_parity(folder: Path, fails: str) -> tuple[int, list[str]]:
    """`make parity` with a command in nafdeploy's place that writes down how it was called; its exit code and calls."""
    log, command = folder / "log", folder / "bin" / "nafdeploy"
    command.parent.mkdir()
    command.write_text(STUB.format(log=log, fails=fails))
    command.chmod(0o755)
    stamp = folder / ".installed"
    stamp.touch()
    words = ["make", "-s", "-C", str(ROOT), "-o", str(stamp), "parity", f"VENV={folder}"]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, log.read_text().splitlines()


def test_every_released_network_and_its_half_graph_are_compared(tmp_path: Path) -> None:
    code, calls = make_parity(tmp_path, "nothing")
    assert code == 0
    for name in released_models():
        assert f"parity {name} -m {name}" in calls
        halves = [call for call in calls if call.startswith("parity") and f"/{name}-fp16.onnx" in call]
        assert len(halves) == 1
        assert halves[0].endswith(f"--fp32 nafnet_deploy/weights/{name}.onnx")
    assert len(calls) == 3 * len(released_models())


@pytest.mark.parametrize("fails", ["'parity denoise-light '*", "export*", "'parity /'*"])
def test_one_failure_ends_it(tmp_path: Path, fails: str) -> None:
    code, calls = make_parity(tmp_path, fails)
    assert code != 0
    assert calls[-1].startswith(fails.strip("'*")), "it went on"


def test_continuous_integration_runs_checks_tests_and_parity() -> None:
    assert "make check test parity" in (ROOT / ".ci" / "run").read_text().splitlines()
    assert "run: .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
