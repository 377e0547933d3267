"""Who may import whom, and what a machine without torch can do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "safetensors", "onnxscript", "skimage", "scipy", "tifffile")
"""What only the workbench installs."""

# Stands in front of every import of a program and lets the packages named in its first argument not be found.
BLOCKED = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

blocked = set(json.loads(sys.argv.pop(1)))
sys.meta_path.insert(0, Blocker())
from nafnet_deploy.cli import main
main()
"""

# Runs a command and names the packages that it imported on the last line of stderr.
TELLING = """
import atexit, sys
atexit.register(lambda: print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr))
from nafnet_deploy.cli import main
main()
"""


def without_heavy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(HEAVY), *map(str, arguments)], capture_output=True, text=True
    )


def imported_by(*arguments: str | Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", TELLING, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return path


def test_every_import_contract_is_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_machine_without_torch_restores_a_picture(tiny: Path, picture: Path) -> None:
    done = without_heavy("run", picture, "-m", tiny)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with Image.open(picture.with_name("a_restored.png")) as restored:
        assert restored.size == (24, 20)


def test_a_machine_without_torch_runs_fewer_iterations(tiny: Path, picture: Path) -> None:
    done = without_heavy("run", picture, "-m", tiny, "--iters", "1")
    assert done.returncode == 0, done.stderr


def test_a_machine_without_torch_proves_parity(tiny: Path) -> None:
    done = without_heavy("parity", tiny, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reference"] == "golden"


def test_a_machine_without_torch_compares_iterations_and_shows_the_gates(tiny: Path, picture: Path) -> None:
    done = without_heavy("compare", picture, "-m", tiny, "--sigma", "25")
    assert done.returncode == 0, done.stderr
    assert "gates are left out" not in done.stderr
    assert picture.with_name("a-compare.png").is_file()


def test_a_machine_without_torch_evaluates_a_graph(tiny: Path, picture: Path) -> None:
    done = without_heavy("eval", tiny, "--clean", picture.parent, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["pictures"]) == 1


def test_a_machine_without_torch_times_a_graph(tiny: Path) -> None:
    done = without_heavy("bench", tiny, "--imgsz", "16", "--runs", "1", "--warmup", "0", "--pause", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_a_machine_without_torch_inspects_files(tiny: Path, suffix: str) -> None:
    done = without_heavy("inspect", tiny.with_suffix(suffix))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] in ("bundle", "checkpoint")


def test_a_machine_without_torch_lists_what_it_knows_and_says_what_is_missing() -> None:
    done = without_heavy("models", "--json")
    assert done.returncode == 0, done.stderr
    table = {row["name"]: row for row in json.loads(done.stdout)}
    assert {"denoise-light", "medium"} < set(table)
    medium = table["medium"]
    assert (medium["parameters"], medium["gmacs"], medium["size_multiple"]) == (None, None, 4)
    assert "nafnet-deploy[export]" in done.stderr


def test_a_machine_without_torch_shows_every_help() -> None:
    for line in (["--help"], ["export", "--help"], ["train", "--help"], ["degrade", "--help"]):
        assert without_heavy(*line).returncode == 0


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        (["export", "light"], "export"),
        (["train", "recipe.toml"], "train"),
        (["degrade", "CLEAN", "-o", "OUT", "--type", "blur"], "train"),
        (["inspect", "PTH"], "export"),
        (["parity", "TINY", "-m", "light"], "export"),
        (["bench", "light"], "export"),
        (["demo", "-m", "TINY", "-o", "OUT"], "demo"),
    ],
)
def test_what_needs_more_names_the_extra_that_brings_it(
    tiny: Path, tmp_path: Path, line: list[str], extra: str
) -> None:
    pth = tmp_path / "x.pth"
    pth.write_bytes(b"weights")
    places = {"TINY": str(tiny), "PTH": str(pth), "OUT": str(tmp_path / "out")}
    done = without_heavy(*(places.get(word, word) for word in line))
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert f"pip install 'nafnet-deploy[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [pth]


def test_a_machine_without_an_engine_names_the_extra_that_brings_it(tiny: Path, picture: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, '["onnxruntime", "openvino"]', "run", str(picture), "-m", str(tiny)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "nafnet-deploy[cpu]" in done.stderr


def test_a_machine_without_torch_lays_out_a_project_and_cuts_tiles(picture: Path, tmp_path: Path) -> None:
    for line in (["init", tmp_path / "project"], ["tile", tmp_path, "-o", tmp_path / "tiles", "--size", "16"]):
        done = without_heavy(*line, *(["--overlap", "8"] if line[0] == "tile" else []))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert len(list((tmp_path / "tiles").iterdir())) == 4


def test_help_imports_nothing_that_computes() -> None:
    assert not imported_by("--help") & {"numpy", "PIL", "onnx", "onnxruntime", *HEAVY}


@pytest.mark.parametrize(("engine", "package"), [("auto", "openvino"), ("onnxruntime", "onnxruntime")])
def test_run_imports_neither_torch_nor_the_exporter(tiny: Path, picture: Path, engine: str, package: str) -> None:
    modules = imported_by("run", picture, "-m", tiny, "--engine", engine)
    assert package in modules
    assert not modules & {"onnx", *HEAVY}
