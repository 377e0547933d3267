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
def _spandrel_file(architecture: str, name: str) -> types.ModuleType | None:
    """A module of one spandrel architecture; None where spandrel is missing.

    Only that file is loaded: the package itself imports torchvision, which breaks against a CPU torch.
    """
    spec = importlib.util.find_spec("spandrel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    for package in ("spandrel", "spandrel.architectures", f"spandrel.architectures.{architecture}"):
        module = sys.modules.setdefault(package, types.ModuleType(package))
        module.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
    return importlib.import_module(f"spandrel.architectures.{architecture}.__arch.{name}")


def spandrel_nafnet(config: ModelConfig) -> nn.Module:
    """The NAFNet of the spandrel package with the same hyper-parameters."""
    arch = _spandrel_file("NAFNet", "NAFNet_arch")
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
