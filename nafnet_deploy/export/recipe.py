"""What an export is asked for: frozen, read from TOML or from the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nafnet_deploy.config import INFER, TASKS, ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest, read_table, read_toml

OLDEST_OPSET = 18
"""The operator set that the exporter writes natively."""
PRECISIONS = ("fp32", "fp16")
MODES = ("unrolled", "split")


@dataclasses.dataclass(frozen=True)
class ExportRecipe:
    """One export."""

    model: str = "denoise-light"
    """Checkpoint file, released model or preset."""
    name: str = ""
    """Name of the bundle; empty for one made of model, iterations, shape and precision."""
    iterations: int | None = None
    """Reasoning iterations N to unroll; None for the checkpoint's own."""
    default_iterations: int | None = None
    """Iterations that a run of the bundle uses unasked; None for `iterations`."""
    mode: str = "unrolled"
    """`unrolled`: one graph of N iterations. `split`: head, step and tail, for any number chosen while it runs."""
    task: str = ""
    """Of an all-in-one network: the task whose experts stay in the graph, or `infer` for all of them and the router;
    empty for the checkpoint's own choice."""
    imgsz: str = "dynamic"
    """Height and width of the input: `256`, `HxW` (pixels) or `dynamic`."""
    batch: int | str = "dynamic"
    """Pictures per forward pass: a number or `dynamic`."""
    precision: str = "fp32"
    """Arithmetic of the graph: `fp32`, or `fp16` with float32 islands."""
    fp32_trunk: bool = False
    """Keep the residual trunk and the carried state of an fp16 graph in float32 even where half is safe."""
    calibrate: str = ""
    """Folder of pictures for the range scan of an fp16 export; empty for seeded pictures."""
    tlc: int = 0
    """Side of the window (pixels of the picture) of local means in place of global ones (TLC); 0 is off."""
    opset: int = OLDEST_OPSET
    """ONNX operator set, 18 or newer."""
    output: str = "export"
    """Folder of the bundle, or a file name that ends with `.onnx`."""

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ConfigError(f"{field} = {getattr(self, field)!r} is impossible:", f"{rule}.")

        n = self.iterations
        need(n is None or n >= 1, "iterations", "use --iters 1 or more")
        need(self.default_iterations is None or self.default_iterations >= 1, "default_iterations", "use 1 or more")
        need(self.mode in MODES, "mode", f"use {' or '.join(MODES)}")
        choices = (INFER, *TASKS)
        if self.task and self.task not in choices:
            raise ConfigError(f"task = {self.task!r} is impossible: it is no task.", nearest(self.task, choices))
        need(self.precision in PRECISIONS, "precision", f"use {' or '.join(PRECISIONS)}")
        need(self.precision == "fp16" or not self.fp32_trunk, "fp32_trunk", "it belongs to --precision fp16")
        need(self.precision == "fp16" or not self.calibrate, "calibrate", "it belongs to --precision fp16")
        need(self.tlc >= 0, "tlc", "use a window in pixels, or 0 for global means")
        need(self.opset >= OLDEST_OPSET, "opset", f"use {OLDEST_OPSET} or newer")
        need(self.batch == "dynamic" or (isinstance(self.batch, int) and self.batch >= 1), "batch",
             "use a number from 1 or `dynamic`")  # fmt: skip
        need(self.imgsz == "dynamic" or self.size() is not None, "imgsz", "use 256, HxW or `dynamic`")

    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, or None when dynamic."""
        match = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", self.imgsz)
        return (int(match[1]), int(match[2] or match[1])) if match else None

    def shape(self, config: ModelConfig) -> tuple[int | str, int, int | str, int | str]:
        """[B, C, H, W] of the graph; words are free dimensions.

        Raises:
            ConfigError: a size that the network's levels do not divide.
        """
        batch: int | str = "batch" if self.batch == "dynamic" else self.batch
        size = self.size()
        if size is None:
            return (batch, config.planes, "height", "width")
        m = config.size_multiple
        if size[0] % m or size[1] % m:
            better = "x".join(str(-(-s // m) * m) for s in size)
            raise ConfigError(
                f"--imgsz {self.imgsz} does not fit: height and width must be multiples of {m}.",
                f"Use --imgsz {better}.",
            )
        return (batch, config.planes, size[0], size[1])


def read_export_recipe(path: Path | None, overrides: Mapping[str, Any]) -> ExportRecipe:
    """A recipe file (or none) with the command line's values over it; None there means "not given".

    Raises:
        ConfigError: an unreadable file, an unknown key or an impossible value.
    """
    table = {} if path is None else read_toml(path)
    table.update({k: v for k, v in overrides.items() if v is not None})
    return read_table(ExportRecipe, table, "the command line" if path is None else path.name)
