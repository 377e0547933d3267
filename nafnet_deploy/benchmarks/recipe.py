"""What a benchmark is asked for: frozen, read from TOML or from the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nafnet_deploy.benchmarks.scopes import END_TO_END, SCOPES
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import read_table, read_toml

IMGSZ = "256"
"""Height and width (pixels) when nobody asks."""
MAX_PAUSE = 60
"""Longest rest between turns (seconds)."""
MEGAPIXELS = (0.065536, 0.262144, 1.0, 2.0, 4.0, 8.0, 16.0, 33.0)
"""Pictures of the scale suite: 256x256, 512x512, then up to 8K (7680x4320)."""
BATCHES = (1, 2, 4, 8)
"""Batches of the scale suite, at 256x256."""


@dataclasses.dataclass(frozen=True)
class BenchRecipe:
    """One benchmark."""

    model: str = "denoise-light"
    """Released model, checkpoint, preset (random weights) or `.onnx` file."""
    iterations: int | None = None
    """Largest N: 1 to N are timed; None for 5, or all that an `.onnx` file has."""
    only: int | None = None
    """The one N to time."""
    imgsz: str = IMGSZ
    """Height and width: `256` or `HxW` (pixels)."""
    batch: int = 1
    """Pictures per run."""
    scope: str = "forward"
    """What a turn includes: a key of `scopes.SCOPES`."""
    runs: int = 20
    """Timed rounds; in each, every engine takes a turn at every N."""
    warmup: int = 3
    """Untimed rounds before them."""
    pause: float = 0.3
    """Rest before each turn (seconds)."""
    threads: int | None = None
    """CPU threads of every engine; None for one per core."""
    engines: tuple[str, ...] = ("onnxruntime",)
    """Engines besides the baseline, by name."""
    peers: bool = False
    """Add every peer that is installed."""
    baseline: str | None = None
    """The engine that the others are compared with; None for PyTorch eager where it is there, else the first."""
    memory: bool = True
    """Measure start-up and peak memory in a process per engine."""
    profile: bool = False
    """Time the operators."""
    scale: bool = False
    """Time and memory against megapixels, batch and threads, in place of the table over N."""
    megapixels: tuple[float, ...] = MEGAPIXELS
    """Sizes of the scale suite."""
    batches: tuple[int, ...] = BATCHES
    """Batches of the scale suite, at 256x256."""

    def __post_init__(self) -> None:
        counts = (
            (self.iterations, "--iters"), (self.only, "--only"), (self.batch, "--batch"), (self.runs, "--runs"),
            (self.threads, "--threads"), *((value, "batches") for value in self.batches),
        )  # fmt: skip
        for value, option in counts:
            if value is not None and value < 1:
                raise ConfigError(f"{option} {value} is impossible.", f"Use {option} 1 or more.")
        if self.warmup < 0:
            raise ConfigError(f"--warmup {self.warmup} is impossible.", "Use 0 or more.")
        if not 0 <= self.pause <= MAX_PAUSE:
            raise ConfigError(f"--pause {self.pause} is impossible.", f"Use 0 to {MAX_PAUSE} seconds.")
        if self.scope not in SCOPES:
            raise ConfigError(f"--scope {self.scope} is unknown.", f"Use {' or '.join(SCOPES)}.")
        if self.scope == END_TO_END and self.batch != 1:
            raise ConfigError(f"--scope {END_TO_END} takes one picture, not {self.batch}.", "Leave --batch out.")
        if not self.engines and not self.peers and self.baseline is None:
            raise ConfigError("there is no engine to time.", "Give --engine at least once.")
        if not all(0.001 <= value <= 1000 for value in self.megapixels):
            raise ConfigError(f"megapixels {list(self.megapixels)} are impossible.", "Use 0.001 to 1000.")
        if self.only is not None and self.iterations is not None:
            raise ConfigError(f"--only {self.only} and --iters {self.iterations} contradict each other.", "Give one.")
        if self.scale:
            own = {"--imgsz": self.imgsz != IMGSZ, "--batch": self.batch != 1, "--profile": self.profile}
            if self.scope != "forward":
                raise ConfigError("--scale times the network alone.", "Leave --scope out.")
            if given := [option for option, is_given in own.items() if is_given]:
                raise ConfigError(
                    f"--scale has its own sizes and batches and no profile: {', '.join(given)} would change nothing.",
                    "Leave it out; a recipe sets `megapixels` and `batches`.",
                )
        self.size(1)

    def size(self, multiple: int) -> tuple[int, int]:
        """(height, width) in pixels.

        Raises:
            ConfigError: not a size, or not multiples of `multiple`.
        """
        match = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", self.imgsz)
        if match is None:
            raise ConfigError(f"--imgsz {self.imgsz} is not a size.", "Use 256 or HxW.")
        height, width = int(match[1]), int(match[2] or match[1])
        if height % multiple or width % multiple:
            raise ConfigError(
                f"--imgsz {self.imgsz} does not fit: height and width must be multiples of {multiple}.",
                f"Use --imgsz {-(-height // multiple) * multiple}x{-(-width // multiple) * multiple}.",
            )
        return height, width


def read_bench_recipe(path: Path | None, overrides: Mapping[str, Any]) -> BenchRecipe:
    """A recipe file (or none) with the command line's values over it; None there means "not given".

    Raises:
        ConfigError: an unreadable file, an unknown key or an impossible value.
    """
    table = {} if path is None else read_toml(path)
    given = {k: v for k, v in overrides.items() if v is not None}
    for mine, other in (("only", "iterations"), ("iterations", "only")):
        if mine in given and other not in given:
            table.pop(other, None)
    table.update(given)
    return read_table(BenchRecipe, table, "the command line" if path is None else path.name)
