"""A new folder to train in: places for data and results, and a recipe that reads them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nafnet_deploy.errors import UsageError

FOLDERS = (
    *(f"data/{split}/{kind}" for split in ("train", "val", "test") for kind in ("degraded", "clean")),
    "runs",
    "results",
)
"""What a project holds besides its files."""
TEMPLATES = ("train.toml", "README.txt")
"""Its files, as they lie in the package."""


def create_project(project: Path) -> Path:
    """Makes a project of a new or empty folder and returns its README.

    Raises:
        UsageError: the folder is not empty, or cannot be made; nothing new is left in it then.
    """
    made: list[Path] = []
    try:
        if project.exists() and (not project.is_dir() or any(project.iterdir())):
            what = "is not empty" if project.is_dir() else "is a file"
            raise UsageError(f"{project} {what}.", "Give a new or empty folder.")
        for name in FOLDERS:
            folder = project / name
            for part in [*reversed(folder.parents), folder]:
                if not part.exists():
                    part.mkdir()
                    made.append(part)
        for name in TEMPLATES:
            made.append(project / name)
            (project / name).write_text(template(name), encoding="utf-8")
    except BaseException as error:
        for path in reversed(made):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UsageError(
                f"{error.filename or project} cannot be made: {error.strerror}.", "Give another folder."
            ) from error
        raise
    return project / "README.txt"


def template(name: str) -> str:
    """The text of one of `TEMPLATES`."""
    return files("nafnet_deploy.data").joinpath("templates", name).read_text(encoding="utf-8")
