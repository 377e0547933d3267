"""A small network as the two bundles of a chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from nafnet_deploy.manifest import Bundle, open_bundle


@pytest.fixture(scope="session")
def full(tiny: Path) -> Bundle:
    """The fp32 bundle, with its checkpoint beside it; N = 3. Never change these files."""
    return open_bundle(tiny)


@pytest.fixture(scope="session")
def half(tiny_half: Path) -> Bundle:
    """The fp16 bundle of the same network, alone in its folder. Never change these files."""
    return open_bundle(tiny_half)
