"""Exports for tests whose subject is the graph, and that compare it themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.export import run
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import Bundle
from tests.weights import seeded, stir

Exported = Callable[..., Bundle]
"""The fixture `exported`: (config, **settings of the recipe) -> bundle."""


def quick_export(checkpoint: Checkpoint, recipe: ExportRecipe, proof: bool = False, **options: Any) -> Bundle:
    """The bundle with an estimated overlap of tiles in place of a measured one, and without the export's own proof.

    Both take most of an export's time, change nothing in the graph and have tests of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_tile_facts", lambda _, bundle: bundle.manifest)
        if not proof:
            patch.setattr(run, "prove", lambda *_: {})
            patch.setattr(run, "prove_half", lambda *_: {})
        return run.export_bundle(checkpoint, recipe, **options)


def write_seeded(folder: Path, config: ModelConfig, settings: dict[str, Any]) -> None:
    """The bundle `small.onnx` of a network with the weights `stir(seeded(config))`, without its own proof."""
    checkpoint = Checkpoint(stir(seeded(config)).state_dict(), config, "small", "", {"source": "tests"})
    quick_export(checkpoint, ExportRecipe(output=str(folder / "small.onnx"), **settings))
