"""A recipe applied to a bundle: every shape, limit and name decided, and refused where it cannot work."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable

from nafnet_deploy.engines.build_recipe import LARGEST_SIDE, BuildRecipe, Shape
from nafnet_deploy.engines.cut import check_iterations
from nafnet_deploy.engines.flavour import flavour
from nafnet_deploy.engines.gpus import GPUS, memory_gib
from nafnet_deploy.engines.plan import PLAN_SUFFIX, ShapeProfile
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.tables import plain

OPT_SHAPE: Shape = (1, 256, 256)
MAX_SHAPE: Shape = (1, 1080, 1920)
"""Defaults of a dynamic graph (batch, height, width) that restores at the same size; full HD lying, a standing picture
is tiled. Of a network that enlarges, the restored picture is full HD: its input is smaller by the scale, and attention
along whole rows, whose memory grows with the square of the width, stays within a card."""
USABLE = 0.9
"""Share of a GPU's memory that a plan may count on; the driver, a display and the CUDA context take the rest."""
ENGINE_FACTOR = 2.25
"""Activation memory of a plan over the graph's own peak. Measured, light fp32: TensorRT-RTX 1.7 states 1.8 for
dynamic shapes and 2.2 for a fixed 256x256. A plan that turns out larger is refused after the build."""


@dataclasses.dataclass(frozen=True)
class BuildSpec:
    """All that decides a plan, besides the library's version and, for data-centre TensorRT, the machine."""

    target: str
    """`tensorrt` or `tensorrt-rtx`."""
    gpus: tuple[str, ...]
    """Compute capabilities; empty for portable, or for a machine whose GPU is not known yet."""
    name: str
    """Name of the model."""
    iterations: int
    """Reasoning iterations in the plan; 0 for the plans of a split bundle, which run any number."""
    precision: str
    """Precision of the graph."""
    profiles: tuple[ShapeProfile, ...]
    """One per input."""
    dynamic: bool
    """Whether any dimension is free."""
    workspace: int | None
    """Bound on scratch memory (MiB)."""
    activation_bytes: int
    """Estimated device memory at the largest shape."""
    gpu_memory: int
    """Memory of the GPU that will run it (bytes)."""
    graph_sha256: str
    """Hash of the bundle's graph."""

    @property
    def file_name(self) -> str:
        """`<model>-n<N>-<shape>-<precision>.<gpus>.<target>.engine`; `split` in place of n<N> for a split bundle."""
        form = f"n{self.iterations}" if self.iterations else "split"
        batch, _, height, width = self.profiles[0].max
        place = "dynamic" if self.dynamic else f"{height}x{width}"
        if not self.dynamic and batch > 1:
            place += f"-b{batch}"
        machine = "-".join(self.gpus) or ("portable" if flavour(self.target).builds_for_others else "local")
        name = re.sub(r"[^\w.+-]", "-", self.name)  # a name from a file must not leave the folder
        return f"{name}-{form}-{place}-{self.precision}.{machine}.{self.target}{PLAN_SUFFIX}"

    def key(self, version: str, device: str) -> str:
        """Hash that two builds share exactly when they must give the same plan.

        Args:
            version: the library's version.
            device: name of the GPU that the library builds on and for; empty when it builds for others.
        """
        decisive = {k: v for k, v in plain(self).items() if k not in ("name", "activation_bytes", "gpu_memory")}
        text = json.dumps({"spec": decisive, "version": version, "device": device}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def build_spec(manifest: ModelManifest, recipe: BuildRecipe, gpu: str = "", gpu_gib: float | None = None) -> BuildSpec:
    """Decides everything about a plan without touching the library or the graph.

    Args:
        manifest: the bundle's contract.
        recipe: what is wanted.
        gpu: compute capability of this machine's GPU, used where the library builds for no other.
        gpu_gib: memory of that GPU (GiB).

    Raises:
        ConfigError: shapes that contradict each other or the size multiple, or iterations below 1.
        EngineError: a shape the graph does not take, more iterations than it has, or a plan too large for the GPU.
    """
    iterations = manifest.default_iterations if recipe.iterations is None else recipe.iterations
    check_iterations(manifest, iterations)
    if manifest.parts:
        if recipe.iterations is not None:
            raise ConfigError("the plans of a split bundle run any number of iterations.", "Leave --iters out.")
        iterations = 0
    local = not flavour(recipe.target).builds_for_others
    gpus = recipe.gpus or ((gpu,) if local and gpu else ())
    known = gpu_gib if local and recipe.gpus in ((), (gpu,)) else None
    gib = recipe.gpu_memory or known or memory_gib(tuple(name for name in gpus if name in GPUS))
    profiles = shape_profiles(manifest, recipe)
    spec = BuildSpec(
        target=recipe.target,
        gpus=gpus,
        name=manifest.name,
        iterations=iterations,
        precision=manifest.precision,
        profiles=profiles,
        dynamic=any(isinstance(side, str) for value in manifest.inputs for side in value.shape),
        workspace=recipe.workspace,
        activation_bytes=_activation_bytes(manifest, profiles[0].max),
        gpu_memory=int(gib * 2**30),
        graph_sha256=manifest.graph_sha256,
    )
    _check_memory(spec, manifest)
    return spec


def shape_profiles(manifest: ModelManifest, recipe: BuildRecipe) -> tuple[ShapeProfile, ...]:
    """Smallest, best and largest size of every input; the three are equal where the graph is fixed.

    Raises:
        ConfigError: not a multiple of the network's levels, or not min <= opt <= max.
        EngineError: a shape that a fixed graph does not take.
    """
    multiple = manifest.size_multiple
    fixed = _fixed(manifest)
    low, best, high = recipe.shapes()
    for shape, option in ((low, "--min-shape"), (best, "--opt-shape"), (high, "--max-shape")):
        if shape is not None:
            _check_shape(shape, option, fixed, multiple)
    given_low, given_best = low or (1, 1, 1), best or (1, 1, 1)
    batch, height, width = MAX_SHAPE
    full_hd = _up((batch, -(-height // manifest.scale), -(-width // manifest.scale)), multiple)
    largest = high or _each(max, full_hd, given_best, given_low)
    optimum = best or _each(min, _each(max, _up(OPT_SHAPE, multiple), given_low), largest)
    smallest = low or _each(min, (1, multiple, multiple), optimum, largest)
    for small, large, words in (
        (smallest, optimum, "--min-shape {} exceeds --opt-shape {}"),
        (optimum, largest, "--opt-shape {} exceeds --max-shape {}"),
    ):
        if any(a > b for a, b in zip(small, large, strict=True)):
            raise ConfigError(f"{words.format(_text(small), _text(large))}.", "No side may shrink from min to max.")
    profiles = []
    for value in manifest.inputs:
        channels = value.shape[1]
        sizes = [
            tuple(f or s for f, s in zip(fixed, shape, strict=True)) for shape in (smallest, optimum, largest)
        ]  # a fixed side overrules the defaults
        profiles.append(ShapeProfile(value.name, *((s[0], int(channels), s[1], s[2]) for s in sizes)))
    return tuple(profiles)


def _fixed(manifest: ModelManifest) -> tuple[int | None, int | None, int | None]:
    batch, _, height, width = (side if isinstance(side, int) else None for side in manifest.inputs[0].shape)
    return batch, height, width


def _check_shape(shape: Shape, option: str, fixed: tuple[int | None, ...], multiple: int) -> None:
    if any(f is not None and f != s for f, s in zip(fixed, shape, strict=True)):
        own = "x".join("any" if f is None else str(f) for f in fixed)
        raise EngineError(
            f"{option} {_text(shape)} does not fit a graph of {own} (batch x height x width).",
            "Leave it out, or export another graph: nafdeploy export --imgsz dynamic",
        )
    if shape[1] % multiple or shape[2] % multiple:
        raise ConfigError(
            f"{option} {_text(shape)} does not fit: height and width must be multiples of {multiple}.",
            f"Use {option} {_text(_up(shape, multiple))}.",
        )


def _activation_bytes(manifest: ModelManifest, shape: tuple[int, ...]) -> int:
    batch, _, height, width = shape
    per_pixel = manifest.activation_bytes_per_pixel + manifest.activation_bytes_per_column * width
    return math.ceil(per_pixel * ENGINE_FACTOR * batch * height * width)


def _check_memory(spec: BuildSpec, manifest: ModelManifest) -> None:
    """Refuses before the build what a library would build without a word: a plan that no such GPU can hold."""
    budget = spec.gpu_memory * USABLE
    batch, _, height, width = spec.profiles[0].max
    if spec.activation_bytes <= budget:
        return
    multiple = manifest.size_multiple
    step = max(multiple, 32) if 32 % multiple == 0 else multiple  # a round number where there is room
    tile = _largest_square(manifest, batch, budget, step) or _largest_square(manifest, batch, budget, multiple)
    raise EngineError(
        f"an input of {batch}x{height}x{width} needs about {spec.activation_bytes / 2**30:.1f} GiB for its activations "
        f"and {_card(spec)} has {spec.gpu_memory / 2**30:.0f}.",
        f"Use --max-shape {tile}x{tile} and --tile {tile} when you run it, or state a larger card with --gpu-memory."
        if tile
        else "State a larger card with --gpu-memory.",
    )


def _largest_square(manifest: ModelManifest, batch: int, budget: float, step: int) -> int:
    """The largest side (pixels), a multiple of `step`, of square inputs whose activations fit; 0 when none does."""
    sides = range(step, LARGEST_SIDE + 1, step)
    return step * bisect.bisect_right(
        sides, budget, key=lambda side: _activation_bytes(manifest, (batch, 0, side, side))
    )


def _card(spec: BuildSpec) -> str:
    named = [n for n in spec.gpus if n in GPUS and int(GPUS[n].memory_gib * 2**30) == spec.gpu_memory]
    return f"the {GPUS[named[0]].card} ({named[0]})" if named else "the GPU"


def _each(choose: Callable[[Iterable[int]], int], *shapes: Shape) -> Shape:
    batch, height, width = (choose(sides) for sides in zip(*shapes, strict=True))
    return batch, height, width


def _up(shape: Shape, multiple: int) -> Shape:
    batch, height, width = shape
    return batch, -(-height // multiple) * multiple, -(-width // multiple) * multiple


def _text(shape: Shape) -> str:
    return "x".join(str(side) for side in (shape if shape[0] != 1 else shape[1:]))
