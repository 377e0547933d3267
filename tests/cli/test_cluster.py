"""`nafdeploy run DIR --cluster ADDRESS` where it cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Command
from tests.runtime.batch.conftest import names, save
from tests.test_boundaries import BLOCKED


def test_an_address_where_no_cluster_answers_is_one_clear_line(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    line = [*COMMAND, "run", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    done = subprocess.run([*line, "--cluster", "nonsense"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "no Ray cluster answers" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(("package", "address"), [("ray", "local"), ("fsspec", "auto")])
def test_a_machine_without_ray_names_the_extra(tmp_path: Path, package: str, address: str) -> None:
    save(tmp_path / "in" / "a.png")
    line = [sys.executable, "-c", BLOCKED, f'["{package}"]', "run", str(tmp_path / "in"), "--cluster", address]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "nafnet-deploy[cluster]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (["s3://bucket/in"], "--cluster"),
        (["IN", "-o", "s3://bucket/out"], "--cluster"),
        (["nosuch://bucket/in", "--cluster", "auto"], "unknown"),
        (["memory://bucket/", "--cluster", "auto"], "-o URL"),
        (["MISSING", "--cluster", "auto"], "not a folder"),
        (["IN", "--cluster", "auto", "--engine", "x.engine"], "--engine"),
    ],
)
def test_urls_and_plans_that_do_not_fit_are_refused(
    command: Command, tmp_path: Path, line: list[str], word: str
) -> None:
    save(tmp_path / "in" / "a.png")
    places = {"IN": str(tmp_path / "in"), "MISSING": str(tmp_path / "missing")}
    command("run", *(places.get(text, text) for text in line)).refused(2, word)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
