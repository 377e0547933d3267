"""`nafdeploy build` from the outside: files, words, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nafnet_deploy.cli import app, main
from nafnet_deploy.engines import build as build_module
from nafnet_deploy.engines.build import cache_folder, cached_plan, run_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.flavour import load_library
from nafnet_deploy.engines.plan import open_plan
from nafnet_deploy.errors import ExportError, UsageError
from nafnet_deploy.manifest import Bundle
from tests.cli.conftest import snapshot

ROOT = Path(__file__).parents[3]


def nafdeploy(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the real entry point."""
    monkeypatch.setattr(sys, "argv", ["nafdeploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_build_leaves_plan_and_sidecar_and_the_second_returns_at_once(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("build", small.graph, "--gpu", "sm86", "--iters", 2, "-o", tmp_path)
    assert nafdeploy(monkeypatch, *arguments) == 0
    name = "small-n2-dynamic-fp32.sm86.tensorrt-rtx"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.engine", f"{name}.json"]
    said = capsys.readouterr()
    assert "built in" in said.err
    assert "fp32, 0 of" in said.err
    assert said.out == ""
    monkeypatch.setattr(build_module, "build_plan", None)  # a second build would fail
    assert nafdeploy(monkeypatch, *arguments, "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert (table["reused"], table["iterations"], table["gpus"]) == (True, 2, ["sm86"])
    assert table["plan_sha256"] == open_plan(tmp_path / f"{name}.engine").manifest.plan_sha256


def test_the_manifest_of_a_bundle_is_never_replaced_by_that_of_its_plan(
    small: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(small.graph.parent)
    arguments = ("build", small.graph, "--gpu", "sm86", "-o", small.graph.with_suffix(".engine"))
    assert nafdeploy(monkeypatch, *arguments) == 2
    assert "is the manifest of a bundle and would be replaced" in capsys.readouterr().err
    assert snapshot(small.graph.parent) == before


def test_a_plan_that_was_touched_or_made_otherwise_is_built_again(small: Bundle, tmp_path: Path) -> None:
    library = load_library("tensorrt-rtx")
    path = tmp_path / "a.engine"
    first = run_build(small, BuildRecipe(output=str(path), max_shape="64x64"), library)
    assert not first.reused
    assert run_build(small, BuildRecipe(output=str(path), max_shape="64x64"), library).reused
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not run_build(small, BuildRecipe(output=str(path), max_shape="64x64"), library).reused
    assert len(open_plan(path).path.read_bytes()) == len(whole)
    assert not run_build(small, BuildRecipe(output=str(path), max_shape="32x32"), library).reused


def test_plans_nobody_named_are_kept_by_key_in_the_cache(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAFDEPLOY_CACHE", str(tmp_path))
    library = load_library("tensorrt-rtx")
    first = cached_plan(small, BuildRecipe(max_shape="64x64"), library)
    other = cached_plan(small, BuildRecipe(max_shape="32x32"), library)
    assert cached_plan(small, BuildRecipe(max_shape="64x64"), library).reused
    assert first.file.path.name == other.file.path.name
    assert first.file.path.parent.parent == other.file.path.parent.parent == cache_folder() == tmp_path
    assert first.file.path.parent != other.file.path.parent


def test_another_process_builds_the_same_bytes(light: dict[str, Bundle], tmp_path: Path) -> None:
    graph = light["fixed"].graph
    recipe = BuildRecipe(gpus=("sm86",), output=str(tmp_path / "here"))
    here = run_build(light["fixed"], recipe, load_library("tensorrt-rtx"))
    run = subprocess.run(
        [sys.executable, ROOT / "cli.py", "build", graph, "--gpu", "sm86", "-o", tmp_path / "there", "--json"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert json.loads(run.stdout)["plan_sha256"] == here.file.manifest.plan_sha256


def test_a_dry_run_needs_no_library_and_writes_nothing(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    out = tmp_path / "out"
    for recipe in ("rtx-4090", "h100"):
        arguments = ["build", str(small.graph), "--recipe", str(ROOT / "engines" / f"{recipe}.toml"), "-o", str(out)]
        said = CliRunner().invoke(app, [*arguments, "--dry-run"])
        assert said.exit_code == 0
        assert "would build" in said.stderr
        assert "MiB of activations" in said.stderr
        table = json.loads(CliRunner().invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
        assert table["gpus"] == ["sm89" if recipe == "rtx-4090" else "sm90"]
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--target", "tensorrt"], 3, "this machine has none"),
        (["--gpu", "sm90"], 2, "does not build for sm90"),
        (["--gpu", ","], 2, "names no GPUs"),
        (["--min-shape", "512x512", "--max-shape", "256x256"], 2, "exceeds"),
        (["--max-shape", "65536x65536"], 6, "--max-shape"),
        (["--iters", "9"], 6, "9 iterations"),
        (["--workspace", "1"], 4, "does not fit a workspace"),
        (["-o", "/proc/self/x"], 2, "cannot be written"),
    ],
)
def test_what_cannot_be_built_ends_with_one_line_and_its_exit_code(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: list[str], code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("nafnet_deploy.engines.tensorrt_builder.local_gpu", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert nafdeploy(monkeypatch, "build", small.graph, *arguments) == code
    said = capfd.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_an_environment_error(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert nafdeploy(monkeypatch, "build", small.graph, "-o", tmp_path / "out") == 3
    assert "pip install 'nafnet-deploy[tensorrt-rtx]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_a_folder_is_refused_before_the_build(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "build_plan", None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        run_build(small, BuildRecipe(output=str(tmp_path / "file" / "deeper")), load_library("tensorrt-rtx"))


def test_a_full_disk_after_the_build_keeps_nothing(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        run_build(small, BuildRecipe(output=str(tmp_path), max_shape="64x64"), load_library("tensorrt-rtx"))
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import os, signal, sys
from nafnet_deploy.engines.tensorrt_progress import Progress

start = Progress.start
def and_interrupt(self, name, parent, steps):
    start(self, name, parent, steps)
    if name == "Optimizing graph":  # in the middle of the native build, on its thread
        os.kill(os.getpid(), signal.SIGINT)
Progress.start = and_interrupt
from nafnet_deploy.cli import main
main()
"""


def test_ctrl_c_ends_a_build_with_130_and_leaves_nothing(small: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "build", small.graph, "-o", out],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 130
    assert "Traceback" not in run.stderr
    assert not out.exists()
