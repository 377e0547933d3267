"""What a safetensors file says about itself, read with the standard library alone.

The format (safetensors, "Format"): 8 bytes with the little-endian length of a JSON table, that table (name ->
dtype, shape, data_offsets; strings under `__metadata__`), then the tensors' bytes. Our metadata holds
everything that rebuilds a network, so a machine without torch can say what a checkpoint is.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError

FORMAT = 1
"""Version of our metadata."""
FORMAT_KEY = "nafnet_deploy.format"
MAX_HEADER_BYTES = 100_000_000
"""Limit of the safetensors format."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The table at the start of a safetensors file."""

    metadata: dict[str, str]
    """Free strings of the file's writer."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of every tensor by name."""

    @property
    def parameters(self) -> int:
        """Number of scalars in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclasses.dataclass(frozen=True)
class CheckpointFacts:
    """Everything in a checkpoint but its weights."""

    config: ModelConfig
    """The network that the weights belong to."""
    name: str
    """Name of the model, e.g. `denoise-light`; may be empty."""
    task: str
    """What it restores, e.g. `denoising`; empty when unknown."""
    provenance: dict[str, str]
    """Where the weights come from: source file and hash, or recipe and data."""


def read_header(path: Path) -> Header:
    """Reads and checks the table of a safetensors file, without its tensors.

    Raises:
        CheckpointError: missing, unreadable, truncated or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise _damaged(path, "its header is cut or missing")
            table = json.loads(file.read(length).decode("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    try:
        metadata = {str(k): str(v) for k, v in table.pop("__metadata__", {}).items()}
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in table.items()}
        end = max((int(entry["data_offsets"][1]) for entry in table.values()), default=0)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise _damaged(path, "its header does not describe tensors") from error
    if 8 + length + end != size:
        raise _damaged(path, f"{8 + length + end:,} bytes are announced and {size:,} are there")
    return Header(metadata, shapes)


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a whole safetensors file: {why}.", "Copy or download it again.")


def write_metadata(facts: CheckpointFacts) -> dict[str, str]:
    """The facts as safetensors metadata; `read_facts` is its inverse."""
    return {
        FORMAT_KEY: str(FORMAT),
        "config": json.dumps(facts.config.to_dict(), sort_keys=True),
        "name": facts.name,
        "task": facts.task,
        "provenance": json.dumps(facts.provenance, sort_keys=True),
    }


def is_ours(header: Header) -> bool:
    """Whether this toolkit wrote the file."""
    return FORMAT_KEY in header.metadata


def read_facts(header: Header, path: Path) -> CheckpointFacts:
    """The facts in the metadata of one of our files; `path` only names it in messages.

    Raises:
        CheckpointError: not ours, of a newer format, or with damaged metadata.
    """
    if not is_ours(header):
        raise CheckpointError(
            f"{path} holds {len(header.shapes)} tensors and no nafnet_deploy metadata, so the network is unknown.",
            "Give a checkpoint made by nafdeploy, or the official .pth file.",
        )
    version = header.metadata[FORMAT_KEY]
    if version.isdecimal() and int(version) > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this program reads up to {FORMAT}.", "Update nafnet-deploy."
        )
    try:
        if version != str(FORMAT):
            raise ValueError(f"format {version!r} is unknown")
        provenance: Any = json.loads(header.metadata["provenance"])
        config = ModelConfig.from_dict(json.loads(header.metadata["config"]), "config")
        return CheckpointFacts(
            config=config,
            name=header.metadata["name"],
            task=header.metadata["task"],
            provenance={str(k): str(v) for k, v in provenance.items()},
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message}", error.mend) from error
    except (KeyError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has damaged metadata ({error}).", "Copy or export it again.") from error
