"""Writes a model repository that NVIDIA Triton loads: one folder per model, one of its folders per version."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.cut import graph_of_iterations
from nafnet_deploy.engines.plan import PLAN_SUFFIX, open_plan
from nafnet_deploy.errors import ConfigError, EngineError, MachineError, MissingDependency, UsageError
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.manifest import ModelManifest, TensorSpec, sha256_of, sha256_of_bytes
from nafnet_deploy.parity.golden import Case, read_golden, write_golden
from nafnet_deploy.released import find_bundle

MANIFEST = "model.json"
"""The manifest inside a version's folder, which Triton passes over: with `model.onnx` it is a bundle of its own."""
CONFIG = "config.pbtxt"
_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16"}
_RANGES = {
    "version": (1, 2**63 - 1),
    "max_batch": (1, 2**31 - 1),
    "delay_us": (0, 2**64 - 1),
    "instances": (1, 2**31 - 1),
}
"""Least and most of what Triton's schema and its folders' names can hold."""
_WARM_UP_SIDE = 256


@dataclasses.dataclass(frozen=True)
class TritonWish:
    """How Triton shall run a model."""

    name: str | None = None
    """Name of the model in the repository; None for the bundle's."""
    version: int = 1
    """Number of the version's folder."""
    iterations: int | None = None
    """Reasoning iterations of a graph; None for the model's."""
    max_batch: int = 8
    """Largest batch that Triton forms; bounded by a plan's. A graph of a fixed batch is never batched."""
    delay_us: int = 5000
    """How long Triton waits to fill a batch (microseconds)."""
    instances: int = 1
    """Copies of the model per device."""
    device: str = "auto"
    """`auto` (every GPU, else the CPU), `cpu` or `gpu`."""
    replace: bool = False
    """Overwrite a version that is there, or a configuration that differs."""


@dataclasses.dataclass(frozen=True)
class _Model:
    """What Triton is given: a file, and what it takes."""

    file: str
    data: bytes
    backend: str
    manifest: ModelManifest
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    largest_batch: int | None
    warm_up: tuple[int, int]
    golden: tuple[Case, ...] = ()


def write_repository(model: str, repository: Path, wish: TritonWish) -> Path:
    """Writes `REPOSITORY/NAME/config.pbtxt` and `REPOSITORY/NAME/VERSION/` with the model and its manifest.

    Args:
        model: a released model, the path of a bundle, or that of a TensorRT plan (`.engine`).
        repository: made when missing.
        wish: how Triton shall run it.

    Returns:
        The version's folder.

    Raises:
        MissingDependency: tritonclient, which brings Triton's schema, is not installed.
        UsageError: the version is there already, or the configuration there differs.
        ConfigError: an impossible wish.
        EngineError: a split bundle, a plan of TensorRT-RTX, or more iterations than the graph has.
        CheckpointError: no such model.
        MachineError: the repository cannot be written.
    """
    _check(wish)
    found = _plan(Path(model), wish) if model.endswith(PLAN_SUFFIX) else _graph(model, wish)
    name = wish.name or found.manifest.name
    if not name or name.startswith(".") or set(name) & set("/\\:"):
        raise ConfigError(f"{name!r} cannot be a model's name.", "Give a plain one with --name.")
    text = config_text(name, found, wish)
    folder = repository / name
    target, config = folder / str(wish.version), folder / CONFIG
    if target.exists() and not wish.replace:
        taken = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
        raise UsageError(f"{target} is there already.", f"Use --version {max(taken) + 1}, or --replace.")
    if config.exists() and not wish.replace and config.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{config} differs from what this model needs, and belongs to all versions.", "Use --name, or --replace."
        )
    draft = folder / f".{secrets.token_hex(8)}"
    try:
        draft.mkdir(parents=True)
        (draft / found.file).write_bytes(found.data)
        (draft / MANIFEST).write_text(_with_golden(found, draft).to_json(), encoding="utf-8")
        (draft / CONFIG).write_text(text, encoding="utf-8")
        (draft / CONFIG).replace(config)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)  # last, and whole: a Triton that watches the repository loads what has a number
    except OSError as error:
        raise MachineError(
            f"{target} cannot be written: {error.strerror or error}.", "Check its permissions and space."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _check(wish: TritonWish) -> None:
    for option, (least, most) in _RANGES.items():
        if not least <= (value := getattr(wish, option)) <= most:
            raise ConfigError(f"--{option.replace('_', '-')} {value} is impossible.", f"Use {least} to {most}.")
    if wish.device not in _KINDS:
        raise ConfigError(f"the device {wish.device!r} is unknown.", f"Use {', '.join(_KINDS)}.")


def _graph(model: str, wish: TritonWish) -> _Model:
    bundle = find_bundle(model)
    manifest = bundle.manifest
    bundle.unrolled("by Triton")
    n = manifest.default_iterations if wish.iterations is None else wish.iterations
    graph = graph_of_iterations(bundle, n)
    side = round_up(_WARM_UP_SIDE, manifest.size_multiple)
    data = graph if isinstance(graph, bytes) else Path(graph).read_bytes()
    kept = {place: values[:n] for place, values in manifest.iteration_values.items()}
    manifest = dataclasses.replace(
        manifest, iterations=n, default_iterations=n, iteration_values=kept, sha256={".onnx": sha256_of_bytes(data)}
    )
    cases = read_golden(bundle.golden) if bundle.golden.is_file() else ()
    golden = tuple(Case(case.batch, case.pictures[:n]) for case in cases)
    return _Model(
        "model.onnx", data, "onnxruntime", manifest, manifest.inputs, manifest.outputs, None, (side, side), golden
    )


def _with_golden(model: _Model, folder: Path) -> ModelManifest:
    """Writes the golden file, where the bundle brought one; the manifest that vouches for it."""
    if not model.golden:
        return model.manifest
    path = folder / "model.golden.npz"
    write_golden(path, model.golden)
    return dataclasses.replace(model.manifest, sha256={**model.manifest.sha256, ".golden.npz": sha256_of(path)})


def _plan(path: Path, wish: TritonWish) -> _Model:
    plan = open_plan(path)
    built = plan.manifest
    if built.target != "tensorrt":
        raise EngineError(
            f"{path.name} is a plan of {built.target}, which Triton's TensorRT backend does not load.",
            "Build one with: nafdeploy build --target tensorrt, or give the .onnx file.",
        )
    if wish.iterations not in (None, built.iterations):
        raise EngineError(f"{path.name} computes {built.iterations} iterations.", "Leave --iters out.")
    profile = next(iter(built.profiles), None)
    warm_up = (_WARM_UP_SIDE, _WARM_UP_SIDE) if profile is None else profile.opt[2:]
    largest = None if profile is None else profile.max[0]
    return _Model(
        "model.plan", path.read_bytes(), "tensorrt", built.model, built.inputs, built.outputs, largest,
        (warm_up[0], warm_up[1]),
    )  # fmt: skip


def config_text(name: str, model: _Model, wish: TritonWish) -> str:
    """The text of `config.pbtxt`, made of a message of Triton's own schema, so that it cannot be at odds with it.

    Raises:
        MissingDependency: tritonclient is not installed.
        EngineError: a tensor of a type that Triton is not told of here.
    """
    try:
        from google.protobuf import text_format  # type: ignore[import-untyped]
        from tritonclient.grpc import model_config_pb2 as schema
    except ImportError as error:
        raise MissingDependency("tritonclient", "triton", "for Triton's schema") from error
    free = all(isinstance(spec.shape[0], str) for spec in (*model.inputs, *model.outputs))
    batch = min(wish.max_batch, model.largest_batch or wish.max_batch) if free else 0
    config = schema.ModelConfig(name=name, backend=model.backend, max_batch_size=batch)
    config.version_policy.latest.num_versions = 1
    for specs, field, kind in (
        (model.inputs, config.input, schema.ModelInput),
        (model.outputs, config.output, schema.ModelOutput),
    ):
        for spec in specs:
            field.append(kind(name=spec.name, data_type=_type_of(spec, schema), dims=_dims(spec, batch)))
    if batch:
        config.dynamic_batching.max_queue_delay_microseconds = wish.delay_us
    group = config.instance_group.add()
    group.count, group.kind = wish.instances, schema.ModelInstanceGroup.Kind.Value(_KINDS[wish.device])
    for size in sorted({1, batch} - {0}):
        warm = config.model_warmup.add(name=f"batch of {size}", batch_size=size if batch else 0)
        for spec in model.inputs:
            tensor = warm.inputs[spec.name]
            tensor.data_type, tensor.zero_data = _type_of(spec, schema), True
            sides = [side if isinstance(side, int) else warm_side for side, warm_side in zip(
                spec.shape[2:], model.warm_up, strict=True)]  # fmt: skip
            tensor.dims.extend([*_dims(spec, batch)[:-2], *sides])
    text: str = text_format.MessageToString(config)
    text_format.Parse(text, schema.ModelConfig())
    return text


def _dims(spec: TensorSpec, batch: int) -> list[int]:
    """A tensor's dimensions as Triton counts them: -1 is free, and where it forms batches theirs is left out."""
    return [side if isinstance(side, int) else -1 for side in (spec.shape[1:] if batch else spec.shape)]


def _type_of(spec: TensorSpec, schema: Any) -> int:
    if spec.dtype not in _TYPES:
        raise EngineError(f"the tensor {spec.name!r} has the type {spec.dtype}.", "Export the bundle again.")
    value: int = schema.DataType.Value(_TYPES[spec.dtype])
    return value
