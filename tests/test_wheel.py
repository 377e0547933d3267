"""The wheel as a stranger gets it: what is in it, and that it restores a picture in a bare environment."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.sdist import SdistBuilder
from PIL import Image

from nafnet_deploy import __version__
from nafnet_deploy.released import weights_folder

ROOT = Path(__file__).parents[1]


def run(*line: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program outside the checkout, without this environment's Python paths."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") and k != "VIRTUAL_ENV"}
    return subprocess.run([str(word) for word in line], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment that holds the wheel with its extra [cpu] and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    programs = folder / "venv" / "bin"
    for line in (
        (sys.executable, "-m", "venv", folder / "venv"),
        (programs / "python", "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"),
    ):
        done = run(*line, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return programs


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_it_holds_one_import_name(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert tops == {"nafnet_deploy", f"nafnet_deploy-{__version__}.dist-info"}


def test_it_holds_every_file_of_the_package_and_no_others(wheel: Path) -> None:
    package = ROOT / "nafnet_deploy"
    expected = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert {name for name in names(wheel) if name.startswith("nafnet_deploy/")} == expected
    assert "nafnet_deploy/py.typed" in expected


def test_the_source_archive_holds_every_tracked_file() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = run("git", "ls-files", cwd=ROOT)
    assert tracked.returncode == 0, tracked.stderr
    held = {file.relative_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert set(tracked.stdout.split()) - held == {"pyproject.toml"}  # which every source archive has


def test_it_carries_the_released_weights(wheel: Path) -> None:
    weights = {f"nafnet_deploy/weights/{path.name}" for path in weights_folder().iterdir() if path.is_file()}
    assert "nafnet_deploy/weights/denoise-light.onnx" in weights
    assert weights <= set(names(wheel))


def test_its_metadata_names_python_extras_licence_and_command(wheel: Path) -> None:
    folder = f"nafnet_deploy-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        commands = archive.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"cpu", "gpu", "export", "train", "demo", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">=")[0] for line in needed) == ["numpy", "pillow", "rich", "typer"]
    assert "nafdeploy = nafnet_deploy.cli:main" in commands
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_a_bare_environment_restores_a_picture_with_the_default_model(bare: Path, tmp_path: Path) -> None:
    heavy = run(bare / "python", "-c", "import torch", cwd=tmp_path)
    assert "ModuleNotFoundError" in heavy.stderr
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(40, 210, 96), (80, 1))[..., None].repeat(3, axis=2)
    noisy = np.clip(clean + rng.normal(scale=25, size=clean.shape), 0, 255).round().astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    done = run(bare / "nafdeploy", "run", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "",
        "a.png -> a_restored.png\nengine: onnxruntime cpu, N = 3\n",
    )
    restored = np.asarray(Image.open(tmp_path / "a_restored.png"), np.float64)
    assert np.abs(restored - clean).mean() < np.abs(noisy - clean).mean() / 2


def test_a_bare_environment_proves_its_own_model(bare: Path, tmp_path: Path) -> None:
    done = run(bare / "nafdeploy", "parity", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_bare_environment_says_what_an_export_needs(bare: Path, tmp_path: Path) -> None:
    done = run(bare / "nafdeploy", "export", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install 'nafnet-deploy[export]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
