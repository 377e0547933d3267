"""The all-in-one network: its saving, its experts, its gradients, and the configurations that it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nafnet_deploy.checkpoints.store import Checkpoint, load_checkpoint, save_checkpoint
from nafnet_deploy.config import TASKS, ModelConfig, rank
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.fold import fold
from nafnet_deploy.models.all_in_one import task_places
from nafnet_deploy.models.all_in_one_parts import LowRankConv, RefinementGate
from nafnet_deploy.models.counting import count
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import build, pictures
from nafnet_deploy.presets import preset
from tests.variants import ALL_IN_ONE
from tests.weights import seeded, stir

X = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_a_third_lighter_than_restormer() -> None:
    ours, theirs = (count(preset(name).config, 256, 256) for name in ("all-in-one", "restormer"))
    assert (ours.parameters, theirs.parameters) == (17_921_388, 26_126_644)
    assert ours.parameters < 0.7 * theirs.parameters
    assert ours.macs < 0.7 * theirs.macs


@pytest.mark.parametrize(
    ("channels", "out", "ratio", "expected"),
    [(48, 192, 0.8, 38), (48, 192, 0.5, 24), (96, 48, 0.5, 24), (8, 6, 0.1, 4)],
)
def test_rank_of_a_low_rank_conv(channels: int, out: int, ratio: float, expected: int) -> None:
    conv = LowRankConv(channels, out, ratio)
    assert conv.down.out_channels == conv.up.in_channels == expected == rank(min(channels, out), ratio)
    assert conv(torch.rand(1, channels, 5, 7)).shape == (1, out, 5, 7)


@torch.inference_mode()
def test_a_low_rank_conv_equals_its_formula() -> None:
    conv = stir(LowRankConv(16, 24, 0.5))
    x = torch.rand(2, 16, 6, 9)
    z = F.conv2d(F.conv2d(x, conv.down.weight), conv.before.weight, padding=1, groups=8)
    z = (z - z.mean(1, keepdim=True)) / (z.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    z = z * conv.norm.weight.view(-1, 1, 1) + conv.norm.bias.view(-1, 1, 1)
    z = F.conv2d(F.gelu(z), conv.after.weight, padding=1, groups=8)
    gate = z.mean((2, 3))
    for layer in (1, 3):
        gate = gate @ conv.context[layer].weight[:, :, 0, 0].T + conv.context[layer].bias
        gate = F.gelu(gate) if layer == 1 else torch.sigmoid(gate)
    assert (conv(x) - F.conv2d(z * gate[:, :, None, None], conv.up.weight)).abs().max() < 1e-5


@torch.inference_mode()
def test_every_task_changes_the_picture_in_its_own_way() -> None:
    network = seeded(ALL_IN_ONE).eval()
    given = [network(X, task_places((task, task))) for task in TASKS]
    for i, one in enumerate((*given, network(X))):
        for other in given[:i]:
            assert (one - other).abs().max() > 1e-3


@torch.inference_mode()
def test_rows_of_a_batch_may_have_different_tasks() -> None:
    network = seeded(ALL_IN_ONE).eval()
    mixed = network(X, task_places(("dehazing", "haze_rain")))
    assert torch.allclose(mixed[:1], network(X[:1], task_places(("dehazing",))), atol=1e-6)
    assert torch.allclose(mixed[1:], network(X[1:]), atol=1e-6), "what has no expert is inferred"


@torch.inference_mode()
def test_inferred_shares_depend_on_the_picture_and_sum_to_1() -> None:
    gate = RefinementGate(16, "infer")
    means = torch.randn(2, 16, 1, 1)
    shares = gate._shares(means, None)
    assert torch.allclose(shares.sum(dim=1), torch.ones(2, 1, 1))
    assert (shares[0] - shares[1]).abs().max() > 1e-2


@pytest.mark.parametrize("task", TASKS)
@torch.inference_mode()
def test_a_folded_task_equals_the_network_that_is_given_it(task: str) -> None:
    network = stir(seeded(ALL_IN_ONE)).eval()
    chosen = build(dataclasses.replace(ALL_IN_ONE, expert=task)).eval()
    chosen.load_state_dict(network.state_dict())
    folded = fold(chosen)
    assert not any("router" in name or "experts" in name for name, _ in folded.named_modules())
    expected = network(X, task_places((task, task)))
    assert torch.equal(chosen(X), expected)
    assert (folded(X) - expected).abs().max() < 2e-6
    assert (fold(network)(X) - network(X)).abs().max() < 2e-6


@pytest.mark.parametrize("tasks", [("denoising", ""), ("", "")], ids=["one given", "all inferred"])
def test_every_parameter_learns(tasks: tuple[str, str]) -> None:
    network = seeded(ALL_IN_ONE)
    target = torch.rand(X.shape, generator=torch.Generator().manual_seed(3))
    (pictures(network, X, 1, task_places(tasks))[0] - target).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_a_checkpoint_keeps_network_and_task(tmp_path: Path) -> None:
    config = dataclasses.replace(ALL_IN_ONE, expert="deraining")
    save_checkpoint(
        Checkpoint(seeded(config).state_dict(), config, "small", "deraining", {}), tmp_path / "a.safetensors"
    )
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert found.config == config
    assert torch.equal(found.network().eval()(X), seeded(config).eval()(X))


def test_local_means_are_refused() -> None:
    with pytest.raises(ConfigError, match="largest value of a whole picture"):
        localise(seeded(ALL_IN_ONE), ALL_IN_ONE, 384)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lora_ffn", 1.5, "above the channels"),
        ("lora_ffn", 0.0, "above the channels"),
        ("lora_attention", float("nan"), "above the channels"),
        ("expert", "denoise", "choose from infer, denoising, deraining"),
        ("expert", "", "choose from infer"),
        ("heads", (1,), "one per encoder level"),
        ("width", 15, "must be even"),
        ("scale", 2, "no choice there"),
        ("attention", "sca", "no channel attention"),
    ],
)
def test_impossible_configurations_name_field_and_rule(field: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = .*{words}"):
        dataclasses.replace(ALL_IN_ONE, **{field: value})


def test_a_width_below_the_least_rank_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora_attention = 0\.8 .* above the 2 channels"):
        dataclasses.replace(ALL_IN_ONE, width=2, heads=(1, 2))


@pytest.mark.parametrize(("field", "value"), [("lora_ffn", 0.5), ("lora_attention", 0.8), ("expert", "infer")])
def test_its_fields_belong_to_no_other_network(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = .*all-in-one"):
        ModelConfig(**{field: value})
