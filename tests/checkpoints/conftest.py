"""One small NAFNet-RR checkpoint."""

from __future__ import annotations

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.registry import build
from tests.weights import stir


@pytest.fixture
def checkpoint() -> Checkpoint:
    config = ModelConfig(
        architecture="nafnet-rr",
        width=4,
        encoder_blocks=(1, 0),
        middle_blocks=1,
        decoder_blocks=(0, 1),
        positions=("middle", "decoder"),
        iterations=3,
    )
    weights = stir(build(config)).state_dict()
    return Checkpoint(weights, config, "tiny", "denoising", {"source": "tests", "note": "Grüße"})
