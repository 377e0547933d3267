"""Independent implementations that ours are held against."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest
from torch import nn

from nafnet_deploy.config import ModelConfig


@functools.cache
def _spandrel_file(package: str, architecture: str, name: str) -> types.ModuleType | None:
    """A module of one architecture of spandrel or spandrel-extra-arches; None where the package is missing.

    Only that file is loaded: the packages themselves import torchvision, which breaks against a CPU torch.
    """
    if package != "spandrel":
        _spandrel_file("spandrel", "NAFNet", "NAFNet_arch")  # the helpers of spandrel, which the file imports
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    for folder in (package, f"{package}.architectures", f"{package}.architectures.{architecture}"):
        module = sys.modules.setdefault(folder, types.ModuleType(folder))
        module.__path__ = [str(root.joinpath(*folder.split(".")[1:]))]
    return importlib.import_module(f"{package}.architectures.{architecture}.__arch.{name}")


def spandrel_nafnet(config: ModelConfig) -> nn.Module:
    """The NAFNet of the spandrel package with the same hyper-parameters."""
    arch = _spandrel_file("spandrel", "NAFNet", "NAFNet_arch")
    if arch is None:
        pytest.fail("spandrel is not installed: pip install --no-deps spandrel")
    network: nn.Module = arch.NAFNet(
        img_channel=config.channels,
        width=config.width,
        middle_blk_num=config.middle_blocks,
        enc_blk_nums=list(config.encoder_blocks),
        dec_blk_nums=list(config.decoder_blocks),
    )
    return network


def spandrel_restormer(config: ModelConfig) -> nn.Module:
    """The Restormer of the spandrel-extra-arches package with the same hyper-parameters; it has three levels."""
    arch = _spandrel_file("spandrel_extra_arches", "Restormer", "restormer_arch")
    if arch is None:
        pytest.fail("spandrel-extra-arches is not installed: pip install --no-deps spandrel-extra-arches")
    network: nn.Module = arch.Restormer(
        inp_channels=config.channels,
        out_channels=config.channels,
        dim=config.width,
        num_blocks=[*config.encoder_blocks, config.middle_blocks],
        num_refinement_blocks=config.refinement_blocks,
        heads=list(config.heads),
        ffn_expansion_factor=config.ffn_expand,
    )
    return network
