"""Where an export goes, and the folder in which it is made."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.errors import ConfigError, UsageError
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.manifest import bundle_graph


def target_path(checkpoint: Checkpoint, recipe: ExportRecipe, iterations: int) -> Path:
    """Where the graph goes: the name asked for, or `<folder>/<model>-n<N>-<shape>[-tlc<window>]-<precision>.onnx`.

    Raises:
        ConfigError: a name that a part of a split bundle would have.
    """
    output = Path(recipe.output)
    if output.suffix != ".onnx":
        output /= f"{recipe.name or _name(checkpoint, recipe, iterations)}.onnx"
    if bundle_graph(output) != output:
        raise ConfigError(f"{output.name} is the name of a part of a split bundle.", "Choose another -o.")
    return output


def _name(checkpoint: Checkpoint, recipe: ExportRecipe, iterations: int) -> str:
    # a name out of a file must not lead out of the folder, nor look like an option
    name = re.sub(r"[^\w.+-]", "-", checkpoint.name or Path(recipe.model).stem).lstrip("-.") or "model"
    size = recipe.size()
    place = "dynamic" if size is None else f"{size[0]}x{size[1]}"
    batch = "" if recipe.batch in ("dynamic", 1) else f"-b{recipe.batch}"
    form = "split" if recipe.mode == "split" else f"n{iterations}"
    local = f"-tlc{recipe.tlc}" if recipe.tlc else ""
    return f"{name}-{form}-{place}{batch}{local}-{recipe.precision}"


@contextlib.contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target, on the same disk, that vanishes in the end; the target's own is made if need be.

    Raises:
        UsageError: it cannot be written.
    """
    made = not target.parent.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent)
    except OSError as error:
        raise UsageError(f"{target.parent} cannot be written: {error.strerror}.", "Choose another -o.") from error
    try:
        with scratch as folder:
            yield Path(folder)
    finally:
        if made:
            with contextlib.suppress(OSError):  # it holds the results, unless all failed
                target.parent.rmdir()
