"""From what a user types (a path, a released model's name, a preset) to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from nafnet_deploy.checkpoints.official import load_official
from nafnet_deploy.checkpoints.store import Checkpoint, load_checkpoint
from nafnet_deploy.errors import CheckpointError
from nafnet_deploy.models.registry import build
from nafnet_deploy.presets import PRESETS, preset
from nafnet_deploy.released import CHECKPOINT_SUFFIXES, weights_folder
from nafnet_deploy.tables import nearest

RESIDUAL_STD = 0.2
"""Standard deviation of beta and gamma in a network of random weights."""


def released_checkpoints() -> tuple[str, ...]:
    """Names of the checkpoints in the package, sorted."""
    return tuple(sorted(path.stem for path in weights_folder().glob("*.safetensors")))


def load_model(reference: str | Path, seed: int | None = None) -> Checkpoint:
    """The checkpoint that a user means.

    Args:
        reference: path of a `.safetensors` or official `.pth` file, name of a released model, or name of a
            preset, which gives random weights (its provenance says so).
        seed: seed of those random weights, 0 when None; the global random state is left as it was.

    Raises:
        CheckpointError: an unknown reference, or a file that cannot be read.
    """
    text, path = str(reference), Path(reference)
    if text in released_checkpoints():
        return load_checkpoint(weights_folder() / f"{text}.safetensors")
    if text in PRESETS:
        return random_model(text, 0 if seed is None else seed)
    if path.suffix == ".safetensors":
        return load_checkpoint(path)
    if path.suffix in CHECKPOINT_SUFFIXES:
        return load_official(path)
    if path.suffix in (".onnx", ".json"):
        raise CheckpointError(f"{text} is an exported graph; weights are needed here.", "Give its checkpoint.")
    raise CheckpointError(
        f"there is no model {text!r}.",
        f"{nearest(text, (*released_checkpoints(), *PRESETS))} "
        f"A path must end with {', '.join(CHECKPOINT_SUFFIXES[:-1])} or {CHECKPOINT_SUFFIXES[-1]}.",
    )


def random_model(name: str, seed: int = 0) -> Checkpoint:
    """A preset with random weights: for timing and tests, not for pictures.

    beta and gamma, which PyTorch's initial weights leave at 0, are drawn too: with them at 0 every block is the
    identity, and parity or timing of such a network would prove little.

    Raises:
        ConfigError: no such preset.
    """
    chosen = preset(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build(chosen.config).state_dict()
        for key, tensor in weights.items():
            if key.endswith(("beta", "gamma")):
                tensor.normal_(std=RESIDUAL_STD)
    return Checkpoint(weights, chosen.config, name, chosen.task, {"source": f"random weights, seed {seed}"})
