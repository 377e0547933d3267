"""What a build is asked for: frozen, read from TOML or from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.flavour import flavour
from nafnet_deploy.engines.gpus import GPUS, read_gpus
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import read_table, read_toml

LARGEST_SIDE = 65536
"""Longest side of a picture that a shape may name (pixels)."""
Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class BuildRecipe:
    """One plan to build."""

    target: str = "tensorrt-rtx"
    """`tensorrt-rtx`, or `tensorrt` (data centre and Jetson)."""
    gpus: tuple[str, ...] = ()
    """Compute capabilities, e.g. `sm86`. Empty: portable for TensorRT-RTX, this machine's GPU for TensorRT."""
    min_shape: str = ""
    """Smallest input, `HxW` or `BxHxW` (pixels); empty for the graph's own, or one size multiple."""
    opt_shape: str = ""
    """The input to be fastest at; empty for the graph's own, or 256x256."""
    max_shape: str = ""
    """Largest input; empty for the graph's own, or full HD."""
    workspace: int | None = None
    """Upper bound on the plan's scratch memory (MiB); None leaves it to the library."""
    gpu_memory: float | None = None
    """Memory of the GPU that will run the plan (GiB); None for the well-known card of its compute capability."""
    timing_cache: str = ""
    """File in which TensorRT keeps its timings from build to build; empty for none."""
    iterations: int | None = None
    """Reasoning iterations N in the plan; None for the number that a run of the bundle uses."""
    output: str = "engines"
    """Folder of the plan, or a file name that ends with `.engine`."""

    def __post_init__(self) -> None:
        wanted = flavour(self.target)
        if self.gpus:
            object.__setattr__(self, "gpus", read_gpus(",".join(self.gpus)))
        for text, option in self._shapes():
            if text:
                read_shape(text, option)
        for value, option in ((self.workspace, "--workspace"), (self.gpu_memory, "--gpu-memory")):
            if value is not None and not value > 0:
                raise ConfigError(f"{option} {value} is impossible.", "Give a number above 0.")
        if self.iterations is not None and self.iterations < 1:
            raise ConfigError(f"{self.iterations} iterations are impossible.", "Use --iters 1 or more.")
        if self.timing_cache and not wanted.timing_cache:
            raise ConfigError(f"{wanted.title} times nothing while it builds.", "Leave --timing-cache out.")
        if wanted.builds_for_others and (odd := [name for name in self.gpus if not GPUS[name].rtx]):
            raise ConfigError(
                f"{wanted.title} does not build for {odd[0]} ({GPUS[odd[0]].card}).",
                "Use --target tensorrt on such a machine.",
            )
        if not wanted.builds_for_others and len(self.gpus) > 1:
            raise ConfigError(f"{wanted.title} builds for one GPU at a time.", "Build on each of them, or use RTX.")

    def _shapes(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.min_shape, "--min-shape"),
            (self.opt_shape, "--opt-shape"),
            (self.max_shape, "--max-shape"),
        )

    def shapes(self) -> tuple[Shape | None, Shape | None, Shape | None]:
        """(batch, height, width) of the smallest, best and largest input; None where not given."""
        low, best, high = (read_shape(text, option) if text else None for text, option in self._shapes())
        return low, best, high


def read_shape(text: str, option: str) -> Shape:
    """`256`, `HxW` or `BxHxW` as (batch, height, width).

    Raises:
        ConfigError: anything else, or a number that is 0 or absurdly large.
    """
    words = text.split("x")
    sides = [int(word) for word in words if word.isdecimal() and len(word) < 7]
    if len(sides) != len(words) or len(sides) > 3 or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise ConfigError(f"{option} {text} is not a shape.", "Use HxW or BxHxW, e.g. 256x256 or 4x256x256.")
    return (sides[0] if len(sides) == 3 else 1, sides[-2] if len(sides) > 1 else sides[0], sides[-1])


def read_build_recipe(path: Path | None, overrides: Mapping[str, Any]) -> BuildRecipe:
    """A recipe file (or none) with the command line's values over it; None there means "not given".

    Raises:
        ConfigError: an unreadable file, an unknown key or an impossible value.
    """
    table = {} if path is None else read_toml(path)
    table.update({k: v for k, v in overrides.items() if v is not None})
    return read_table(BuildRecipe, table, "the command line" if path is None else path.name)
