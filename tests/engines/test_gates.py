"""The gates that the graph gives are those of the network in PyTorch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.config import POSITIONS
from nafnet_deploy.engines.gates import GateEngine, gate_values
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import Bundle, open_bundle
from nafnet_deploy.models.registry import build
from nafnet_deploy.released import find_bundle
from nafnet_deploy.runtime.restorer import Restorer
from tests.bundles import write_bundle
from tests.exports import quick_export
from tests.tiny import RR
from tests.weights import stir


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Bundle]:
    """A network with a unit at every place, and its bundle."""
    config = dataclasses.replace(RR, positions=POSITIONS)
    network = stir(build(config))
    folder = tmp_path_factory.mktemp("gates")
    checkpoint = Checkpoint(network.state_dict(), config, "three", "denoising", {"source": "tests"})
    return network.eval(), quick_export(checkpoint, ExportRecipe(output=str(folder / "three.onnx")))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_maps_are_the_sigmoids_of_the_network_that_stops_after_n(
    everywhere: tuple[torch.nn.Module, Bundle], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, bundle = everywhere
    batch = np.random.default_rng(0).uniform(0, 1, (2, 3, 16, 24)).astype(np.float32)
    found: list[np.ndarray] = []
    sigmoid = torch.sigmoid

    def tapped(x: torch.Tensor) -> torch.Tensor:
        found.append(sigmoid(x).mean(dim=1).numpy())
        return sigmoid(x)

    monkeypatch.setattr(torch, "sigmoid", tapped)
    with torch.inference_mode():
        network(torch.from_numpy(batch), n)
    with GateEngine.open(bundle, n, threads=1) as engine:
        assert engine.places == POSITIONS
        maps = engine.run({"input": batch})["gates"]
    assert maps.shape == batch.shape
    for i in range(3):
        expected = found[(i + 1) * n - 1]
        factor = 16 // expected.shape[1]
        np.testing.assert_allclose(maps[:, i, ::factor, ::factor], expected, atol=1e-5)
        np.testing.assert_array_equal(maps[:, i], maps[:, i, ::factor, ::factor].repeat(factor, 1).repeat(factor, 2))


def test_the_released_model_shows_its_gates_at_any_size() -> None:
    bundle = find_bundle()
    with GateEngine.open(bundle, 2, threads=1) as engine:
        pixels = np.random.default_rng(0).uniform(0, 1, (37, 50, 3)).astype(np.float32)
        maps = Restorer(engine, bundle.manifest).in_unit_range(pixels)
    assert maps.shape == (37, 50, 3)
    assert ((maps[..., 0] > 0) & (maps[..., 0] < 1)).all()
    assert (maps[..., 1:] == 0).all()


def test_maps_come_in_the_value_range_of_the_pictures(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    wide = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, value_range=(-1.0, 1.0)))
    batch = np.zeros((1, 3, 8, 8), np.float32)
    with GateEngine.open(bundle, 1) as unit, GateEngine.open(wide, 1) as other:
        expected, maps = (engine.run({"input": batch})["gates"] for engine in (unit, other))
    np.testing.assert_allclose(maps, 2 * expected - 1, atol=1e-6)


def test_what_has_no_such_gate_is_refused(tiny: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny)
    with pytest.raises(EngineError, match="has 3"):
        GateEngine.open(bundle, 4)
    with pytest.raises(ConfigError, match="impossible"):
        GateEngine.open(bundle, 0)
    write_bundle(tmp_path / "plain.onnx")
    with pytest.raises(EngineError, match="no gates"):
        GateEngine.open(open_bundle(tmp_path / "plain.onnx"), 1)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\xff" * 40)
    with pytest.raises(EngineError, match="not a readable"):
        GateEngine.open(Bundle(damaged, bundle.manifest), 1)


def test_a_split_bundle_has_no_one_graph_to_look_into(tiny_split: Path) -> None:
    with pytest.raises(EngineError, match=r"is a split bundle; .* to read its gates"):
        GateEngine.open(open_bundle(tiny_split), 1)


def test_a_graph_whose_units_have_no_sigmoid_has_no_gates(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    model = onnx.load(str(bundle.graph))
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type = "HardSigmoid"
    assert gate_values(model, bundle.manifest, 1) == {}
