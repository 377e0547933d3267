"""TensorRT has no DFT operator: networks with Fourier transforms build all the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.engines.build import run_build
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.export.recipe import ExportRecipe
from tests.exports import quick_export
from tests.variants import variant
from tests.weights import seeded, stir


@pytest.mark.parametrize(("precision", "size"), [("fp32", "dynamic"), ("fp16", "dynamic"), ("fp16", "64")])
def test_network_with_transforms_builds(precision: str, size: str, rtx: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(variant("nafft"), frequency_input=True)
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "transforms", "", {"source": "test"})
    batch: int | str = 1 if size != "dynamic" else "dynamic"
    bundle = quick_export(checkpoint, ExportRecipe(precision=precision, imgsz=size, batch=batch, output=str(tmp_path)))
    manifest = run_build(bundle, BuildRecipe(gpus=("sm86",), output=str(tmp_path)), rtx).file.manifest
    assert manifest.precision_built == precision
    assert manifest.warnings == ()
    assert bundle.manifest.activation_bytes_per_pixel > 50
