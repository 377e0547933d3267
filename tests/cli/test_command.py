"""The command as a whole: its help, version, channels, codes and one-line errors."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nafnet_deploy import __version__
from nafnet_deploy.cli import app
from tests.cli.conftest import COMMAND, Command, plain_environment

ROOT = Path(__file__).parents[2]
COMMANDS = [info.name or info.callback.__name__ for info in app.registered_commands]


def test_no_arguments_show_the_help_as_an_error(spawn: Command) -> None:
    done = spawn()
    assert done.code == 2
    assert done.out == ""
    assert "Usage:" in done.err
    for name in COMMANDS:
        assert f" {name} " in done.err


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command_and_exit_code(command: Command, option: str) -> None:
    done = command(option)
    assert (done.code, done.err) == (0, "")
    for word in (*COMMANDS, "0 ok", "1 unexpected", "2 usage", "3 environment", "4 export", "5 parity", "130 interr"):
        assert word in done.out
    assert "..." not in done.out.partition("Commands:")[2], "a summary is longer than a line of 80 characters"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage:" in done.out


def test_version(spawn: Command) -> None:
    done = spawn("--version")
    assert (done.code, done.out, done.err) == (0, f"nafdeploy {__version__}\n", "")


def test_the_checkout_runs_from_its_own_file() -> None:
    done = subprocess.run([sys.executable, "cli.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"nafdeploy {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], ["'runn'", "'run'", "--help"]),
        (["run"], ["IMAGE|DIR", "run --help"]),
        (["run", "a.png", "--iter", "2"], ["--iter", "--iters"]),
        (["run", "a.png", "--iters", "two"], ["--iters", "integer"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_a_mistyped_line_is_one_line_that_points_to_the_help(
    command: Command, arguments: list[str], words: list[str]
) -> None:
    command(*arguments).refused(2, *words)


@pytest.mark.parametrize("place", [0, 2])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(spawn: Command, tmp_path: Path, place: int) -> None:
    line = ["run", str(tmp_path / "missing.png")]
    line.insert(place, "--debug")
    done = spawn(*line)
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("nafdeploy: ")
    assert "missing.png does not exist" in done.err


def test_an_unforeseen_error_is_one_line_that_asks_for_a_report(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(importlib.import_module("nafnet_deploy.inspect"), "describe", broken)
    command("inspect", tmp_path).refused(1, "unexpected RuntimeError: first second", "--debug")


def test_a_reader_that_goes_away_ends_the_command_quietly(tiny: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "inspect", str(tiny)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_inspect_prints_nothing_but_json_on_stdout(spawn: Command, tiny: Path) -> None:
    done = spawn("inspect", tiny)
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert (facts["kind"], facts["manifest"]["iterations"], facts["golden"]) == ("bundle", 3, True)


def test_parity_json_is_all_of_stdout(command: Command, tiny: Path) -> None:
    done = command("parity", tiny, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert {row["iteration"] for row in report["links"][0]["rows"]} == {1, 2, 3}


def test_parity_against_pytorch_prints_its_table_on_stderr(command: Command, tiny: Path) -> None:
    done = command("parity", tiny, "--model", tiny.with_suffix(".safetensors"))
    assert (done.code, done.out) == (0, "")
    assert "pytorch" in done.err.lower()


def test_parity_with_another_network_is_code_5(command: Command, tiny: Path, tmp_path: Path) -> None:
    from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
    from nafnet_deploy.models.registry import build
    from tests.tiny import RR
    from tests.weights import stir

    save_checkpoint(Checkpoint(stir(build(RR), 1).state_dict(), RR, "other", "", {}), tmp_path / "o.safetensors")
    done = command("parity", tiny, "--model", tmp_path / "o.safetensors", "--json")
    assert done.code == 5
    json.loads(done.out)
    assert done.err.startswith("nafdeploy: ")
    assert len(done.err.splitlines()) == 1


def test_bench_json_is_all_of_stdout(command: Command, tiny: Path) -> None:
    done = command("bench", tiny, "--imgsz", "32", "--runs", "2", "--warmup", "0", "--pause", "0", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)


def test_export_writes_a_bundle_and_only_talks_on_stderr(command: Command, tiny: Path, tmp_path: Path) -> None:
    done = command("export", tiny.with_suffix(".safetensors"), "--iters", "2", "-o", tmp_path / "t.onnx")
    assert (done.code, done.out) == (0, "")
    assert "2 iterations" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.golden.npz", "t.json", "t.onnx"]
