"""The exported models that travel inside the package, found without torch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nafnet_deploy.errors import CheckpointError
from nafnet_deploy.manifest import Bundle, open_bundle
from nafnet_deploy.tables import nearest

DEFAULT_MODEL = "denoise-light"
"""What `nafdeploy run` uses when no model is named."""
CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Files that hold weights to export, not a graph to run."""


def weights_folder() -> Path:
    """Folder of the package with `<name>.onnx`, `<name>.json` and, where shipped, `<name>.safetensors`."""
    return Path(str(files("nafnet_deploy"))) / "weights"


def released_models() -> tuple[str, ...]:
    """Names of the bundles in the package, sorted."""
    return tuple(sorted(path.stem for path in weights_folder().glob("*.onnx")))


def find_bundle(reference: str | Path = DEFAULT_MODEL) -> Bundle:
    """The bundle that a user means.

    Args:
        reference: path of an `.onnx` file with its manifest beside it, of that manifest, or the name of a released
            model.

    Raises:
        CheckpointError: no such file or name, a checkpoint in place of a graph, or an unreadable manifest.
        EngineError: the graph's hash is not the manifest's.
    """
    text, path = str(reference), Path(reference)
    if path.suffix in (".onnx", ".json"):
        return open_bundle(path)
    if path.suffix in CHECKPOINT_SUFFIXES:
        raise CheckpointError(
            f"{text} is a checkpoint, not an exported graph.", f"Export it first: nafdeploy export {text}"
        )
    names = released_models()
    if text in names:
        return open_bundle(weights_folder() / f"{text}.onnx")
    known = nearest(text, names) if names else "This installation brings no model: export one."
    raise CheckpointError(f"there is no released model {text!r}.", f"{known} A path must end with .onnx or .json.")
