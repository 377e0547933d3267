"""Exports for tests whose subject is the graph, and that compare it themselves."""

from __future__ import annotations

from typing import Any

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.export import run
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import Bundle


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
