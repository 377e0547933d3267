"""Our checkpoints: a safetensors file whose metadata rebuilds the network."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nafnet_deploy.checkpoint_header import CheckpointFacts, read_facts, read_header, write_metadata
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError
from nafnet_deploy.models.registry import build

TENSORS_PER_BLOCK = 11
"""Tensors of the leanest block, that of Restormer without biases."""
NAMED = 3
"""How many misfits a message names."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Trained weights and everything needed to use them."""

    weights: dict[str, Tensor]
    """State dict of the network."""
    config: ModelConfig
    """The network that the weights belong to."""
    name: str
    """Name of the model, e.g. `denoise-light`; may be empty."""
    task: str
    """What it restores, e.g. `denoising`; empty when unknown."""
    provenance: dict[str, str]
    """Where the weights come from: source file and hash, or recipe and data."""

    def network(self) -> nn.Module:
        """A new float32 network on the CPU, in evaluation mode, with a copy of the weights.

        Raises:
            CheckpointError: the weights do not fit the configuration.
        """
        check_fit(self.weights, self.config, self.name or "the checkpoint")
        with torch.device("meta"):  # no initial weights: all of them are overwritten
            network = build(self.config)
        network.to_empty(device="cpu")
        network.load_state_dict(self.weights)
        return network.eval()


def check_fit(weights: Mapping[str, Tensor], config: ModelConfig, where: str) -> None:
    """Checks that names and shapes are exactly those of the network; `where` names the source in messages.

    Raises:
        CheckpointError: they are not; names the first few misfits.
    """
    mend = "The file is damaged, or its configuration belongs to other weights."
    blocks = sum(config.encoder_blocks) + config.middle_blocks + sum(config.decoder_blocks)
    blocks += config.reasoning_blocks * len(config.positions)
    # Before anything is built: a damaged configuration may ask for millions of blocks.
    if TENSORS_PER_BLOCK * blocks > len(weights):
        raise CheckpointError(f"{where}: {len(weights)} tensors are too few for {blocks} blocks.", mend)
    try:
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    except (RuntimeError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{where}: no network can be built from its configuration.", mend) from error
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    misfits = [f"{k} is missing" for k in expected if k not in found]
    misfits += [f"{k} is unknown" for k in found if k not in expected]
    misfits += [f"{k} is {list(found[k])}, not {list(v)}" for k, v in expected.items() if found.get(k, v) != v]
    if misfits:
        more = f" and {len(misfits) - NAMED} more" if len(misfits) > NAMED else ""
        raise CheckpointError(f"{where} does not fit its network: {'; '.join(misfits[:NAMED])}{more}.", mend)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the file whole or not at all; an older file of that name is replaced.

    Raises:
        CheckpointError: the place cannot be written.
    """
    facts = CheckpointFacts(checkpoint.config, checkpoint.name, checkpoint.task, checkpoint.provenance)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, part, metadata=write_metadata(facts))
        part.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}.", "Check the folder and the free space.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint and checks that the weights fit its configuration.

    Raises:
        CheckpointError: missing, truncated, not ours, of a newer format, or weights that do not fit.
    """
    facts = read_facts(read_header(path), path)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.", "Copy or download it again.") from error
    check_fit(weights, facts.config, str(path))
    return Checkpoint(weights, facts.config, facts.name, facts.task, facts.provenance)
