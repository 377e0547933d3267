"""PyTorch as an engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.engines.torch import TorchEngine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.models.registry import build, picture, pictures
from nafnet_deploy.parity.compare import compare_engine
from nafnet_deploy.parity.golden import Case
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.parity.tolerance import LIMITS
from tests.weights import stir

CONFIG = ModelConfig("nafnet-rr", 8, (1,), 1, (1,), positions=("middle",), iterations=3)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    module = build(CONFIG).eval()
    stir(module)
    return module


def at(network: nn.Module, iterations: int, channels_last: bool = False) -> Engine:
    return TorchEngine(lambda x: picture(network, x, iterations), channels_last=channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_gives_the_picture_of_every_iteration(network: nn.Module, channels_last: bool) -> None:
    batch = natural_batch((2, 3, 16, 24), seed=0)
    with torch.inference_mode():
        want = tuple(p.numpy() for p in pictures(network, torch.from_numpy(batch), 3))
    name, rows = compare_engine([Case(batch, want)], lambda n: at(network, n, channels_last), (1, 2, 3), LIMITS["fp32"])
    assert all(row.difference.passed for row in rows)
    assert name == ("pytorch cpu channels-last" if channels_last else "pytorch cpu")
    with at(network, 3, channels_last) as engine:
        result = restore_batch(engine, batch)
    assert result.flags.c_contiguous
    assert result.dtype == np.float32


def test_a_wrong_iteration_is_noticed(network: nn.Module) -> None:
    batch = natural_batch((1, 3, 16, 16), seed=0)
    with torch.inference_mode():
        want = tuple(p.numpy() for p in pictures(network, torch.from_numpy(batch), 3))
    _, rows = compare_engine([Case(batch, want)], lambda n: at(network, max(1, n - 1)), (1, 2, 3), LIMITS["fp32"])
    assert [row.difference.passed for row in rows] == [True, False, False]


def test_a_read_only_and_a_strided_input(network: nn.Module) -> None:
    batch = natural_batch((1, 3, 16, 16), seed=0)
    frozen = batch.copy()
    frozen.flags.writeable = False
    with at(network, 1) as engine:
        want = restore_batch(engine, batch)
        assert np.array_equal(restore_batch(engine, frozen), want)
        assert np.array_equal(restore_batch(engine, np.asfortranarray(batch)), want)


def test_leaves_no_gradient_behind(network: nn.Module) -> None:
    seen: list[torch.Tensor] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(picture(network, x, 1))
        return seen[0]

    restore_batch(TorchEngine(forward), natural_batch((1, 3, 8, 8), seed=0))
    assert not seen[0].requires_grad


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 8, 8), np.float64),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((1, 4, 8, 8), np.float32),
        np.zeros((0, 3, 8, 8), np.float32),
    ],
    ids=["float64", "three axes", "four channels", "empty"],
)
def test_an_input_that_does_not_fit(network: nn.Module, batch: np.ndarray) -> None:
    with pytest.raises(EngineError, match="does not fit"):
        restore_batch(at(network, 1), batch)


def test_a_size_that_the_network_does_not_take(network: nn.Module) -> None:
    with pytest.raises(EngineError, match=r"shape \(1, 3, 9, 8\)"):
        restore_batch(at(network, 1), np.zeros((1, 3, 9, 8), np.float32))


def test_wrong_names_and_a_closed_engine(network: nn.Module) -> None:
    engine = at(network, 1)
    with pytest.raises(EngineError, match="do not fit"):
        engine.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        restore_batch(engine, np.zeros((1, 3, 8, 8), np.float32))
