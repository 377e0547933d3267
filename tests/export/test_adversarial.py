"""Networks made to overflow half precision: with islands the picture holds, without them it is lost.

Each case is an ordinary network whose inner values were scaled while its picture stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.export import attention as attention_room
from nafnet_deploy.export.blocks import FoldedUnit
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.norms import ChannelNorm
from nafnet_deploy.export.precision import HalfPlan, plan_half, to_half
from nafnet_deploy.export.ranges import HALF_MAX, HEADROOM, STATE, TRUNK, scan
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import reference
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.inputs import natural_batch
from tests.export.half import CONFIG, NOTHING_WIDENED, amplify, half_graph, half_mean, half_norm, ordinary, run_half
from tests.exports import quick_export

SIZE = 128


@torch.no_grad()
def large_gate_product(network: nn.Module) -> nn.Module:
    """Gate products beyond 1e5 in one block, divided out by the conv behind them."""
    block = network.encoders[0][0]
    block.conv2.weight *= 2000
    block.conv2.bias *= 2000
    block.sca[1].weight /= 2000**2
    block.conv3.weight /= 2000**2
    return network


@torch.no_grad()
def large_gate_mean(network: nn.Module) -> nn.Module:
    """Gates near 6 everywhere in a block at full resolution: their half sum over 128x128 pixels is infinite."""
    block = network.encoders[0][0]
    block.conv2.weight *= 0.1
    block.conv2.bias.fill_(6**0.5)
    block.conv3.weight *= 0.05
    return network


CASES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "squared deviation": lambda n: amplify(n, 2500),
    "residual trunk": lambda n: amplify(n, 60_000),
    "gate product": large_gate_product,
    "gate mean": large_gate_mean,
}


def network_of(case: str) -> nn.Module:
    return CASES[case](ordinary())


class Trial:
    """A network, a clean and a noisy picture, and what float32 makes of it."""

    def __init__(self, case: str) -> None:
        self.folded = fold(network_of(case))
        self.clean = natural_batch((1, 3, SIZE, SIZE), 3)
        noise = np.random.default_rng(0).normal(scale=25 / 255, size=self.clean.shape)
        self.noisy = (self.clean + noise).astype(np.float32)
        self.expected = reference(network_of(case))(self.noisy, CONFIG.iterations)[-1]

    def change(self, plan: HalfPlan, spoil: Callable[[nn.Module], None] = lambda half: None) -> float:
        """By how many dB the half graph changes the PSNR of the restored picture; NaN when it is not finite."""
        half = to_half(self.folded, plan)
        spoil(half)
        restored = run_half(half_graph(half, CONFIG, CONFIG.iterations, SIZE), self.noisy)
        return abs(psnr(restored, self.clean) - psnr(self.expected, self.clean))


def test_the_cases_do_pass_the_limit_and_leave_the_picture_alone() -> None:
    plain = reference(ordinary())
    x = natural_batch((1, 3, SIZE, SIZE), 3)
    for case, kind in (("squared deviation", "squared deviation"), ("residual trunk", TRUNK), ("gate product",) * 2):
        network = network_of(case)
        assert max(scan(fold(network), [x], CONFIG.iterations).classes[kind]) > HALF_MAX
        assert psnr(reference(network)(x, 2)[-1], plain(x, 2)[-1]) > 60
    means = scan(fold(network_of("gate mean")), [x], 1).classes["channel mean"]
    assert max(means) * SIZE * SIZE > HALF_MAX


@pytest.mark.parametrize("case", CASES)
def test_with_islands_the_picture_stays_within_a_tenth_of_a_decibel(case: str) -> None:
    trial = Trial(case)
    found = scan(trial.folded, [trial.noisy], CONFIG.iterations)
    assert trial.change(plan_half(found)) < 0.1


@pytest.mark.parametrize("case", ["squared deviation", "gate mean"])
def test_without_the_standard_islands_it_is_lost(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChannelNorm, "forward", half_norm)
    monkeypatch.setattr(attention_room, "global_mean", half_mean)

    def spoil(half: nn.Module) -> None:
        for norm in (m for m in half.modules() if isinstance(m, ChannelNorm)):
            norm.half()

    change = Trial(case).change(NOTHING_WIDENED, spoil)
    assert not change < 0.1, f"{change} dB: the case does not need its islands"


@pytest.mark.parametrize("case", ["residual trunk", "gate product"])
def test_without_the_widened_islands_it_is_lost(case: str) -> None:
    change = Trial(case).change(NOTHING_WIDENED)
    assert not change < 0.1, f"{change} dB: the case does not need its islands"


def test_export_widens_warns_and_proves_itself(tmp_path: Path) -> None:
    told: list[str] = []
    checkpoint = Checkpoint(network_of("residual trunk").state_dict(), CONFIG, "loud", "", {"source": "test"})
    recipe = ExportRecipe(precision="fp16", output=str(tmp_path))
    bundle = quick_export(checkpoint, recipe, proof=True, on_warning=told.append)
    islands = bundle.manifest.float32_islands
    assert {TRUNK, STATE, "downs.0", "ups.0.0"} < set(islands)
    assert "beyond half's largest number 65504" in islands[TRUNK]
    assert f"{TRUNK} stays in float32: {islands[TRUNK]}." in told
    assert bundle.manifest.parity["min_psnr"] > 60
    assert 0 < bundle.manifest.half_share < 1


def test_values_within_a_factor_of_eight_are_widened_before_they_overflow() -> None:
    found = scan(fold(network_of("squared deviation")), [natural_batch((1, 3, 32, 32), 0)], 1)
    assert not plan_half(found).trunk
    near = HALF_MAX / HEADROOM / found.peaks[TRUNK].value
    folded = fold(amplify(network_of("squared deviation"), 1.5 * near))
    plan = plan_half(scan(folded, [natural_batch((1, 3, 32, 32), 0)], 1))
    assert plan.trunk
    assert "less than 8 times below" in plan.reasons[TRUNK]
    unit = next(m for m in to_half(folded, plan).modules() if isinstance(m, FoldedUnit))
    assert unit.reasoning.dtype == unit.gate.dtype == torch.float32
