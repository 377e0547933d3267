"""Which files make a training example."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.files import PICTURE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Pair:
    """One example: a clean picture and, unless damage is to be made while training, its degraded version."""

    clean: Path
    """The picture to restore to."""
    degraded: Path | None = None
    """The picture to restore, of the same size; None to degrade the clean one on the fly."""
    task: str = ""
    """What was done to it, where the layout says so."""


def picture_files(folder: Path) -> list[Path]:
    """The picture files directly in a folder, in name order.

    Raises:
        ConfigError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of pictures.", "Set data.train and data.val to folders.")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise ConfigError(f"{folder} holds no pictures.", f"It needs files of {', '.join(sorted(PICTURE_SUFFIXES))}.")
    return files
