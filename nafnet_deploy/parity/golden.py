"""Golden files: seeded inputs with the FP32 PyTorch pictures of every iteration, so that parity needs no torch.

A golden file is a compressed `.npz` with the arrays, for case i = 0, 1, ... and iteration n = 1..N::

    schema                     version of this layout
    input_{i}                  float32 [B, C, H, W]
    picture_{i}_iteration_{n}  float32 [B, C, sH, sW], s the network's scale
"""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.errors import CheckpointError, UsageError

SCHEMA = 1
GOLDEN = "golden"
"""What reports call the inputs of a golden file, and the file itself."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One input and what the reference makes of it."""

    batch: NDArray[np.float32]
    """Input [B, C, H, W] in [0, 1]."""
    pictures: tuple[NDArray[np.float32], ...]
    """The reference's outputs after iterations 1..N."""
    name: str = ""
    """What the input shows; a golden file does not store it."""


def write_golden(path: Path, cases: Sequence[Case]) -> None:
    """Writes a golden file, whole or not at all. Equal cases give equal bytes.

    Raises:
        UsageError: the place cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {"schema": np.array(SCHEMA)}
    for i, case in enumerate(cases):
        arrays[f"input_{i}"] = case.batch
        for n, picture in enumerate(case.pictures, start=1):
            arrays[f"picture_{i}_iteration_{n}"] = picture
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another place.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def read_golden(path: Path) -> tuple[Case, ...]:
    """Reads a golden file; nothing in it is ever unpickled.

    Raises:
        CheckpointError: the file is missing, damaged, of another layout or holds other types or shapes.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an archive")
        with archive as file:
            arrays = {name: file[name] for name in file.files}
        return _cases(arrays)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist.", "Export the bundle again.") from error
    # What NumPy and zipfile raise on damaged archives, headers that lie about sizes, and pickled objects.
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is not a readable golden file: {error}.", "Export the bundle again.") from error


def _cases(arrays: dict[str, NDArray[Any]]) -> tuple[Case, ...]:
    schema = arrays.pop("schema", np.array(None)).item()
    if schema != SCHEMA:
        raise ValueError(f"its layout is {schema}, this program reads {SCHEMA}")
    cases: list[Case] = []
    while (batch := arrays.pop(f"input_{len(cases)}", None)) is not None:
        pictures: list[NDArray[Any]] = []
        while (picture := arrays.pop(f"picture_{len(cases)}_iteration_{len(pictures) + 1}", None)) is not None:
            pictures.append(picture)
        for array in (batch, *pictures):
            if array.dtype != np.float32 or array.ndim != 4 or array.shape[:2] != batch.shape[:2]:
                raise ValueError(f"input_{len(cases)} or its pictures have the wrong type or shape")
        cases.append(Case(batch, tuple(pictures)))
    if not cases or arrays or len({len(case.pictures) for case in cases}) != 1 or not cases[0].pictures:
        raise ValueError("inputs or iterations are missing")
    return tuple(cases)
