"""A small network as the two bundles of a chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from nafnet_deploy.manifest import Bundle, open_bundle


@pytest.fixture(scope="session")
def full(tiny: Path) -> Bundle:
    """The fp32 bundle, with its checkpoint beside it; N = 3. Never change these files."""
    return open_bundle(tiny)


@pytest.fixture(scope="session")
def half(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The fp16 bundle of the same network, alone in its folder. Never change these files."""
    path = tmp_path_factory.mktemp("half") / "tiny-fp16.onnx"
    return export_bundle(
        load_checkpoint(tiny.with_suffix(".safetensors")), ExportRecipe(precision="fp16", output=str(path))
    )
