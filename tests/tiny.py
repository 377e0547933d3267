"""A small network with reasoning, exported for tests that need a real bundle. Imports torch."""

from __future__ import annotations

from pathlib import Path

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from nafnet_deploy.manifest import bundle_file
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


def tiny_checkpoint() -> Checkpoint:
    """The network of both bundles, the same weights at every call."""
    return Checkpoint(stir(seeded(RR)).state_dict(), RR, "tiny", "denoising", {"source": "tests"})


def write_split(folder: Path) -> Path:
    """The split bundle `split.json` of the same network; returns the manifest's path."""
    recipe = ExportRecipe(mode="split", output=str(folder / "split.onnx"))
    return bundle_file(export_bundle(tiny_checkpoint(), recipe).graph, ".json")


def write_tiny(folder: Path) -> Path:
    """`tiny.safetensors` and the bundle `tiny.onnx`, proved by its own export; returns the graph's path."""
    checkpoint = tiny_checkpoint()
    save_checkpoint(checkpoint, folder / "tiny.safetensors")
    return export_bundle(checkpoint, ExportRecipe(output=str(folder / "tiny.onnx"))).graph
