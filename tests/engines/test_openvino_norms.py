"""LayerNorm as NormalizeL2: another operator, the same picture, whatever writes and reads the trunk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from openvino.passes import ConstantFolding, Manager

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines import openvino_norms
from nafnet_deploy.engines.openvino_norms import fuse_norms
from nafnet_deploy.export.recipe import ExportRecipe
from tests.exports import Exported, quick_export
from tests.variants import ALL_IN_ONE, PLAIN, RESTORMER, RR, STEREO, variant
from tests.weights import seeded, stir

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
NETWORKS = {
    "plain": PLAIN,
    "units everywhere": RR,
    "stereo": STEREO,
    "restormer": RESTORMER,
    "all in one": ALL_IN_ONE,
    "filters between the levels": variant("fft skips", reasoning=True),
}


def read(path: Path) -> tuple[Any, Any, int]:
    """The graph as it is and with its norms fused, and how many those are."""
    plain, fused = (openvino.Core().read_model(path) for _ in range(2))
    return plain, fused, fuse_norms(fused)


def kinds(model: Any, kind: str) -> list[Any]:
    return [op for op in model.get_ops() if op.get_type_name() == kind]


def outputs(model: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(openvino.Core().compile_model(model, "CPU", EXACT)(batch)[0])


def noise(config: ModelConfig) -> NDArray[np.float32]:
    side = 4 * config.size_multiple
    return np.random.default_rng(1).random((2, config.planes, side, side + config.size_multiple), np.float32)


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_no_network_changes_its_picture(config: ModelConfig, exported: Exported) -> None:
    plain, fused, count = read(exported(config).graph)
    assert len(kinds(fused, "NormalizeL2")) == count > 0
    batch = noise(config)
    assert np.abs(outputs(plain, batch) - outputs(fused, batch)).max() < 2e-5


@pytest.mark.parametrize("config", [PLAIN, RR, STEREO], ids=["plain", "units everywhere", "stereo"])
def test_every_norm_of_a_block_is_fused(config: ModelConfig, exported: Exported) -> None:
    """Two per NAFBlock; what is left are the pair norms of units and the attention of stereo networks."""
    plain, fused, count = read(exported(config).graph)
    units = len(config.positions) * config.iterations if config.architecture == "nafnet-rr" else 0
    blocks = sum((*config.encoder_blocks, config.middle_blocks, *config.decoder_blocks))
    assert count >= 2 * (blocks + units * config.reasoning_blocks)
    assert len(kinds(plain, "Sqrt")) - len(kinds(fused, "Sqrt")) == count


def test_a_mean_that_dwarfs_the_deviations_is_no_part_of_the_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stir(seeded(PLAIN))
    assert isinstance(network.intro, torch.nn.Conv2d)
    network.intro.bias.data += 300
    checkpoint = Checkpoint(network.state_dict(), PLAIN, "lifted", "denoising", {"source": "tests"})
    path = quick_export(checkpoint, ExportRecipe(output=str(tmp_path))).graph
    plain, fused, count = read(path)
    batch = noise(PLAIN)
    expected = outputs(plain, batch)
    scale = np.abs(expected).max()
    assert count
    assert np.abs(outputs(fused, batch) - expected).max() < 1e-5 * scale
    monkeypatch.setattr(openvino_norms, "SCALE", 1.0)
    assert np.abs(outputs(read(path)[1], batch) - expected).max() > 1e-4 * scale


def test_weights_that_iterations_share_stay_shared(exported: Exported) -> None:
    def size(model: Any) -> int:
        return sum(op.get_byte_size() for op in kinds(model, "Constant"))

    def grown(iterations: int) -> int:
        plain, fused, _ = read(exported(dataclasses.replace(RR, iterations=iterations)).graph)
        folding = Manager()
        folding.register_pass(ConstantFolding())  # OpenVINO does it to every graph, and unshares the biases
        folding.run_passes(plain)
        return size(fused) - size(plain)

    assert grown(5) - grown(1) < 4 * 1000


def test_a_norm_whose_first_channel_somebody_reads_is_left_alone(exported: Exported) -> None:
    path = exported(PLAIN).graph
    count = fuse_norms(openvino.Core().read_model(path))
    model = openvino.Core().read_model(path)
    norm = next(norm for op in model.get_ops() if (norm := openvino_norms._norm(op)) is not None)
    model.add_outputs([norm.result])
    assert fuse_norms(model) == count - 1
