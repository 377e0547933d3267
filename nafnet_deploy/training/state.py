"""The resume state on disk."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from nafnet_deploy.errors import CheckpointError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes the state under a temporary name and renames it, so that a crash leaves the previous one."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written: {error}.", "The previous state is unharmed; free some space and --resume."
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Reads a state; tensors and plain values only, never code.

    Raises:
        CheckpointError: missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path.name} in {path.parent} to resume.", "Start without --resume.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged.", "Start anew without --resume in another folder.") from error
    return state
