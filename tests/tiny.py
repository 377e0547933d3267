"""A small network with reasoning, exported for tests that need a real bundle. Imports torch."""

from __future__ import annotations

from pathlib import Path

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from tests.weights import seeded, stir

RR = ModelConfig(
    architecture="nafnet-rr",
    width=4,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    positions=("middle",),
    reasoning_blocks=1,
    iterations=3,
)


def write_tiny(folder: Path) -> Path:
    """`tiny.safetensors` and the bundle `tiny.onnx`, proved by its own export; returns the graph's path."""
    checkpoint = Checkpoint(stir(seeded(RR)).state_dict(), RR, "tiny", "denoising", {"source": "tests"})
    save_checkpoint(checkpoint, folder / "tiny.safetensors")
    return export_bundle(checkpoint, ExportRecipe(output=str(folder / "tiny.onnx"))).graph
