"""Parameters and multiply-adds against figures that others published and against the exported graph."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nafnet_deploy.benchmarks.floor import count_macs
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.counting import count
from nafnet_deploy.models.registry import build, picture
from nafnet_deploy.presets import preset
from tests.exports import Exported
from tests.variants import PLAIN, RR, STEREO


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [("nafnet-gopro-w32", 15.96), ("nafnet-gopro-w64", 63.05), ("nafnet-sidd-w32", 16.05), ("nafnet-sidd-w64", 63.24)],
)
def test_published_networks(name: str, gmacs: float) -> None:
    assert round(count(preset(name).config, 256, 256).macs / 1e9, 2) == gmacs


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(PLAIN, encoder_blocks=(3, 2), middle_blocks=4),
        dataclasses.replace(RR, middle_blocks=3, reasoning_blocks=2, iterations=3),
        dataclasses.replace(STEREO, middle_blocks=5),
    ],
    ids=["nafnet", "nafnet-rr", "nafssr"],
)
def test_blocks_that_repeat_count_as_often_as_they_stand_there(config: ModelConfig) -> None:
    network = build(config).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        picture(network, torch.rand(1, config.planes, 16, 24), config.iterations)
    assert count(config, 16, 24).macs * 2 == counter.get_total_flops()


def test_the_graph_has_as_many_less_what_the_iterations_share(exported: Exported) -> None:
    config = dataclasses.replace(RR, positions=("middle",), iterations=3)
    c, pixels = 4 * config.width, 32 * 48 // 16
    shared = 2 * c * c * pixels  # the conv on what entered the unit, which runs once in place of three times
    assert count_macs(exported(config).graph, (1, 3, 32, 48)) == count(config, 32, 48).macs - 2 * shared


def test_do_conv_costs_parameters_and_no_multiply_adds() -> None:
    plain, over = (count(dataclasses.replace(PLAIN, do_conv=on), 16, 16) for on in (False, True))
    assert over.parameters > plain.parameters
    assert over.macs == plain.macs
