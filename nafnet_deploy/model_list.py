"""Every network that has a name, with its figures. Only the figures need torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

from nafnet_deploy.config import TASKS, ModelConfig
from nafnet_deploy.engines.registry import ENGINES
from nafnet_deploy.manifest import read_manifest
from nafnet_deploy.presets import PRESETS
from nafnet_deploy.released import released_models, weights_folder
from nafnet_deploy.tables import plain

SIDE = 256
"""Height and width (pixels) at which multiply-adds are counted."""


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """One network."""

    name: str
    """What `export` and `bench` call it."""
    released: bool
    """Whether it comes with trained weights; the others are presets."""
    architecture: str
    """`architecture` of its `ModelConfig`."""
    task: str
    """What it is for; empty when it serves any task."""
    description: str
    """One line."""
    parameters: int | None
    """Number of scalar weights; None without torch."""
    gmacs: float | None
    """Multiply-adds (10^9) of a 256x256 picture at its own iterations; None without torch."""
    size_multiple: int
    """Height and width of its input must be multiples of this (pixels)."""
    scale: int
    """Side of the restored picture over that of the input."""
    views: int
    """Pictures that are restored together."""
    iterations: int
    """Reasoning iterations N that it was made for."""
    experts: tuple[str, ...]
    """Tasks that it has experts for, one of which `export --task` can keep; empty for most networks."""
    engines: dict[str, tuple[str, ...]]
    """Per engine what it computes: `fp32`, `fp16`, `bf16`, and `split` where it also runs the network in steps."""


def list_models(on_model: Callable[[str], None] = lambda name: None) -> tuple[ModelFacts, ...]:
    """The released models and the presets, in that order.

    Args:
        on_model: told the name of each before it is counted.

    Raises:
        CheckpointError: the manifest of a released model is damaged.
    """
    figures: dict[ModelConfig, tuple[int | None, float | None]] = {}
    found = []
    for name, released, config, task, description in _named():
        on_model(name)
        if config not in figures:
            figures[config] = _figures(config)
        found.append(
            ModelFacts(
                name,
                released,
                config.architecture,
                task,
                description,
                *figures[config],
                config.size_multiple,
                config.scale,
                config.views,
                config.iterations,
                TASKS if config.expert else (),
                supported(config),
            )
        )
    return tuple(found)


def count_names() -> int:
    """How many models `list_models` returns."""
    return len(_named())


def _named() -> list[tuple[str, bool, ModelConfig, str, str]]:
    released = []
    for name in released_models():
        manifest = read_manifest(weights_folder() / f"{name}.json")
        words = f"trained weights in this package, {manifest.default_iterations} iterations"
        released.append((name, True, manifest.model, manifest.task, words))
    return released + [(name, False, p.config, p.task, p.description) for name, p in PRESETS.items()]


def supported(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Per engine what it computes of a network; see `ModelFacts.engines`."""
    splits = len(config.positions) == 1
    return {
        name: (*entry.arithmetic, *(("split",) if entry.steps and splits else ())) for name, entry in ENGINES.items()
    }


def _figures(config: ModelConfig) -> tuple[int | None, float | None]:
    try:
        from nafnet_deploy.models.counting import count
    except ModuleNotFoundError:
        return None, None
    counts = count(config, SIDE, SIDE)
    return counts.parameters, counts.macs / 1e9


def to_json(models: tuple[ModelFacts, ...]) -> str:
    """The list as JSON, one table per network."""
    return json.dumps(plain(models), indent=2) + "\n"
