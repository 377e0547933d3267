"""The deployment contract that lies beside every exported graph, and the files of a bundle.

A bundle is a few files that share a stem: `X.onnx` (the graph and its weights), `X.json` (this manifest) and
`X.golden.npz` (seeded inputs with the FP32 PyTorch outputs of every iteration). A split bundle holds three graphs in
place of one, `X.head.onnx`, `X.step.onnx` and `X.tail.onnx`, and runs any number of iterations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError
from nafnet_deploy.tables import plain, read_table

SCHEMA = 1
HEAD, STEP, TAIL = "head", "step", "tail"
"""The graphs of a split bundle; see `export.split` for what each takes and gives."""
FEATURES, STATE, STATE_NEXT, DELTA = "features", "state", "state_next", "delta"
"""Tensors between them: what enters the reasoning, what it carries, and how much a step changed that."""


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
class PartSpec:
    """What one graph of a split bundle takes and gives."""

    inputs: tuple[TensorSpec, ...]
    """Inputs, `state` and `features` among them where it has them."""
    outputs: tuple[TensorSpec, ...]
    """Outputs."""


@dataclasses.dataclass(frozen=True)
class Stopping:
    """How a split bundle decides that it has thought enough."""

    picture_per_state: float
    """Root mean square change of the picture ([0, 1]) over that of the state, both by one iteration: turns the
    `delta` of a step into an estimate of what the step did to the picture."""
    quality: dict[str, float] = dataclasses.field(default_factory=dict)
    """Thresholds of `--quality`, by its words: stop when an iteration changed the picture less."""
    iterations: int | None = None
    """Most iterations of any `quality`, with which they were measured; None for as many as were proved."""
    source: str = ""
    """The pictures over which these were measured."""


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
    """Reasoning iterations in the graph; 1 for a network without reasoning. A split bundle runs any number: here
    it is how many were proved."""
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
    """Advised overlap of neighbouring tiles (pixels): twice the reach that the export measured."""
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

    tile_least: int = 96
    """Smallest side of a tile (pixels) that the export found to agree with the whole picture. Automatic tiles are not
    smaller, and the self-tests of tiles take this size."""
    tile_noise: float = 0.05
    """Largest noise (standard deviation, white is 1) with which it found that: a network that was not made for noise
    may judge a tile of a noisy picture otherwise than the whole."""

    parts: dict[str, PartSpec] = dataclasses.field(default_factory=dict)
    """The graphs of a split bundle, by name; empty for one unrolled graph."""
    stopping: Stopping | None = None
    """When to stop; None for an unrolled graph."""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(
                f"the manifest has format {self.schema}, this program reads {SCHEMA}.",
                "Export the bundle again, or update nafnet-deploy.",
            )
        if self.parts and self.parts.keys() != {HEAD, STEP, TAIL}:
            raise ConfigError(
                f"the manifest has the parts {', '.join(sorted(self.parts))}, not head, step and tail.",
                "Export the bundle again.",
            )

    @property
    def graph_sha256(self) -> str:
        """What identifies the graph: its hash, or that of the parts' hashes; empty before it has one."""
        if not self.parts:
            return self.sha256.get(".onnx", "")
        return sha256_of_bytes("".join(self.sha256.get(part_suffix(name), "") for name in self.parts).encode())

    @property
    def exported_from(self) -> str:
        """What `nafdeploy export` takes to make this network again: its name where it is a released one."""
        weights = files("nafnet_deploy") / "weights" / f"{self.name}.safetensors"
        return self.name if weights.is_file() else "CHECKPOINT"

    def to_json(self) -> str:
        """The text of the sidecar file."""
        return json.dumps(plain(self), indent=1, sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An exported graph on disk with its manifest."""

    graph: Path
    """The `.onnx` file; of a split bundle only its name exists, with `.head`, `.step` and `.tail` before the suffix."""
    manifest: ModelManifest
    """Its contract."""

    @property
    def graphs(self) -> dict[str, Path]:
        """The files that hold graphs, by the suffix under which the manifest keeps their hashes."""
        suffixes = [part_suffix(name) for name in self.manifest.parts] or [".onnx"]
        return {suffix: bundle_file(self.graph, suffix) for suffix in suffixes}

    def part(self, name: str) -> Path:
        """One graph of a split bundle."""
        return bundle_file(self.graph, part_suffix(name))

    def unrolled(self, purpose: str) -> Path:
        """The single graph of an unrolled bundle.

        Args:
            purpose: what it is needed for, e.g. "to build a plan".

        Raises:
            EngineError: the bundle is split.
        """
        if self.manifest.parts:
            raise EngineError(
                f"{self.graph.stem} is a split bundle; one graph is needed {purpose}.",
                f"Make one with: nafdeploy export {self.manifest.exported_from} --mode unrolled",
            )
        return self.graph

    @property
    def golden(self) -> Path:
        """The file of golden inputs and outputs."""
        return bundle_file(self.graph, ".golden.npz")


def bundle_file(graph: Path, suffix: str) -> Path:
    """The bundle's file with another suffix: `X.onnx` -> `X` + suffix."""
    return graph.with_name(graph.name.removesuffix(".onnx") + suffix)


def part_suffix(name: str) -> str:
    """`step` -> `.step.onnx`."""
    return f".{name}.onnx"


def bundle_graph(path: Path) -> Path:
    """The `.onnx` name of the bundle to which a file belongs: its manifest or any of its graphs."""
    for suffix in (*map(part_suffix, (HEAD, STEP, TAIL)), ".onnx", ".json"):
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) + ".onnx")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """SHA-256 of bytes in memory, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(graph: Path) -> ModelManifest:
    """Reads the manifest of a bundle, given as its manifest or any of its graphs; does not look into a graph.

    Raises:
        CheckpointError: graph or manifest is missing or unreadable.
        ConfigError: the manifest has an unknown or missing key.
    """
    if not graph.is_file():
        raise CheckpointError(f"{graph} does not exist.", "Make it with: nafdeploy export")
    sidecar = bundle_file(bundle_graph(graph), ".json")
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


def open_bundle(path: Path) -> Bundle:
    """Reads the manifest of a bundle and checks that its graphs are the ones it vouches for.

    Args:
        path: the bundle's manifest or any of its graphs.

    Raises:
        CheckpointError: a graph or the manifest is missing or unreadable.
        ConfigError: the manifest has an unknown or missing key.
        EngineError: a graph's hash is not the manifest's.
    """
    bundle = Bundle(bundle_graph(path), read_manifest(path))
    for suffix, graph in bundle.graphs.items():
        if not graph.is_file():
            raise CheckpointError(f"{graph} does not exist.", "Keep the files of a bundle together.")
        if sha256_of(graph) != bundle.manifest.sha256.get(suffix):
            raise EngineError(
                f"{graph.name} is not the graph its manifest vouches for (the hash differs).",
                "It is damaged or was edited: export the bundle again.",
            )
    return bundle
