"""The deployment contract that lies beside every exported graph, and the files of a bundle.

A bundle is three files that share a stem: `X.onnx` (the graph and its weights), `X.json` (this manifest) and
`X.golden.npz` (seeded inputs with the FP32 PyTorch outputs of every iteration).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from nafnet_deploy.config import ModelConfig, plain, read_table
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of one input or output of a graph."""

    name: str
    """Name in the graph."""
    dtype: str
    """NumPy name of the element type, e.g. `float32`."""
    shape: tuple[int | str, ...]
    """[batch, channels, height, width]; a word in place of a number is a free dimension."""


@dataclasses.dataclass(frozen=True)
class ModelManifest:
    """What a program must know to run a graph correctly without knowing the network."""

    name: str
    """Name of the model, e.g. `denoise-light`."""
    task: str
    """What it restores, e.g. `denoising`; empty when unknown."""
    model: ModelConfig
    """The network that was exported."""
    iterations: int
    """Reasoning iterations in the graph; 1 for a network without reasoning."""
    default_iterations: int
    """Iterations a run uses when nobody asks for another number; at most `iterations`."""
    iteration_values: dict[str, tuple[str, ...]]
    """Per place, the graph values that hold its features after iteration 1..N; where a graph is cut for fewer."""
    inputs: tuple[TensorSpec, ...]
    """Inputs of the graph."""
    outputs: tuple[TensorSpec, ...]
    """Outputs of the graph."""
    size_multiple: int
    """Height and width of the input must be multiples of this (pixels)."""
    scale: int
    """Output height over input height; 1 for restoration at the same size."""
    padding: str
    """How to reach the multiple, right and bottom: `reflect` or `zeros`."""
    tile_overlap: int
    """Advised overlap of neighbouring tiles (pixels)."""
    activation_bytes_per_pixel: float
    """Peak of the graph's live activations over the pixels of its input (bytes per pixel)."""
    color: str
    """Channel order of input and output: `RGB`."""
    value_range: tuple[float, float]
    """Values of black and white in input and output."""
    precision: str
    """Arithmetic of the graph: `fp32` or `fp16`."""
    opset: int
    """ONNX operator set."""
    versions: dict[str, str]
    """Packages that made the bundle."""
    provenance: dict[str, str]
    """Where the weights come from: checkpoint hash, recipe, data."""
    sha256: dict[str, str]
    """Hashes of the other files of the bundle, by suffix (`.onnx`, `.golden.npz`)."""
    parity: dict[str, float]
    """Largest differences that the export itself measured, by check."""
    schema: int = SCHEMA
    """Version of this format."""
    float32_islands: dict[str, str] = dataclasses.field(default_factory=dict)
    """What stays in float32 in an `fp16` graph, and why; empty for `fp32`."""
    half_share: float = 0.0
    """Share of the convolutions' multiply-adds that the graph does in float16, 0 to 1."""
    ranges: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    """Largest magnitude per class of tensors when the network stops after iteration 1..N; empty when not scanned."""
    calibration: str = ""
    """The pictures over which `ranges` were taken; empty when not scanned."""
    tlc: int = 0
    """Side of the window (pixels of the picture) of the graph's local means; 0 where its means are global."""

    activation_bytes_per_column: float = 0.0
    """Further bytes per pixel for every column of the input, where a network attends along whole rows."""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(
                f"the manifest has format {self.schema}, this program reads {SCHEMA}.",
                "Export the bundle again, or update nafnet-deploy.",
            )

    def to_json(self) -> str:
        """The text of the sidecar file."""
        return json.dumps(plain(self), indent=1, sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An exported graph on disk with its manifest."""

    graph: Path
    """The `.onnx` file."""
    manifest: ModelManifest
    """Its contract."""

    @property
    def golden(self) -> Path:
        """The file of golden inputs and outputs."""
        return bundle_file(self.graph, ".golden.npz")


def bundle_file(graph: Path, suffix: str) -> Path:
    """The bundle's file with another suffix: `X.onnx` -> `X` + suffix."""
    return graph.with_name(graph.name.removesuffix(".onnx") + suffix)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """SHA-256 of bytes in memory, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(graph: Path) -> ModelManifest:
    """Reads the manifest beside an `.onnx` file; does not look into the graph.

    Raises:
        CheckpointError: graph or manifest is missing or unreadable.
        ConfigError: the manifest has an unknown or missing key.
    """
    if not graph.is_file():
        raise CheckpointError(f"{graph} does not exist.", "Make it with: nafdeploy export")
    sidecar = bundle_file(graph, ".json")
    if not sidecar.is_file():
        raise CheckpointError(
            f"{graph.name} has no manifest {sidecar.name} beside it.", "Keep the files of a bundle together."
        )
    try:
        table = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{sidecar} is not a readable manifest: {error}.", "Export the bundle again.") from error
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{sidecar} is not a manifest.", "Export the bundle again.")
    return read_table(ModelManifest, table, sidecar.name)


def open_bundle(graph: Path) -> Bundle:
    """Reads the manifest beside an `.onnx` file and checks that the graph is the one it vouches for.

    Raises:
        CheckpointError: graph or manifest is missing or unreadable.
        ConfigError: the manifest has an unknown or missing key.
        EngineError: the graph's hash is not the manifest's.
    """
    manifest = read_manifest(graph)
    if sha256_of(graph) != manifest.sha256.get(".onnx"):
        raise EngineError(
            f"{graph.name} is not the graph its manifest vouches for (the hash differs).",
            "It is damaged or was edited: export the bundle again.",
        )
    return Bundle(graph, manifest)
