"""A small network with reasoning, exported for tests that need a real bundle. Imports torch."""

from __future__ import annotations

from pathlib import Path

from nafnet_deploy.checkpoints.store import Checkpoint, save_checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from tests.exports import quick_export
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


def write_split(folder: Path) -> None:
    """The split bundle `split.json` of the same network."""
    export_bundle(tiny_checkpoint(), ExportRecipe(mode="split", output=str(folder / "split.onnx")))


def write_half(folder: Path) -> None:
    """The bundle `tiny-fp16.onnx` of the same network, without its own proof."""
    quick_export(tiny_checkpoint(), ExportRecipe(precision="fp16", output=str(folder / "tiny-fp16.onnx")))


def write_tiny(folder: Path) -> None:
    """`tiny.safetensors` and the bundle `tiny.onnx`, proved by its own export."""
    checkpoint = tiny_checkpoint()
    save_checkpoint(checkpoint, folder / "tiny.safetensors")
    export_bundle(checkpoint, ExportRecipe(output=str(folder / "tiny.onnx")))
