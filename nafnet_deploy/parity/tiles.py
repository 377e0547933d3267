"""Tiles against the whole picture, and a graph of one fixed shape against the same graph with free dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine, size_limits
from nafnet_deploy.errors import EngineError, MissingDependency
from nafnet_deploy.images.padding import round_up
from nafnet_deploy.images.tiling import Axis, TilePlan
from nafnet_deploy.manifest import Bundle, ModelManifest, sha256_of
from nafnet_deploy.metrics import psnr
from nafnet_deploy.parity.inputs import NOISE, natural_batch
from nafnet_deploy.parity.self_tests import SelfTest, guarded, judged
from nafnet_deploy.parity.tolerance import Limits, TileLimits
from nafnet_deploy.runtime.restorer import Restorer

TILED, SEAMS, STATIC = "tiled and whole", "seams", "static and dynamic shape"

Open = Callable[[Bundle], Engine]
"""Opens a bundle in the engine under test."""


def tile_tests(
    engine: Engine, manifest: ModelManifest, limits: TileLimits, tile: int, pictures: Sequence[NDArray[np.float32]] = ()
) -> tuple[SelfTest, SelfTest]:
    """Restores pictures whole and in tiles, and looks for steps along the tiles' borders.

    Args:
        engine: open, with one input and one output.
        manifest: the contract of its graph.
        limits: how far tiles may be from the whole.
        tile: side of a tile (pixels); the seeded picture is one and a half to two tiles wide.
        pictures: [H, W, 3] pictures to take besides the seeded one; those smaller than a tile are left out.

    The seeded picture has the noise up to which the manifest states that tiles of its size hold.
    """

    def skipped(reason: str) -> tuple[SelfTest, SelfTest]:
        return SelfTest(TILED, "not checked", reason), SelfTest(SEAMS, "not checked", reason)

    side = round_up(tile, manifest.size_multiple)
    height, width = side + side // 2, 2 * side
    bounds = size_limits(engine)
    if manifest.model.planes != 3:
        return skipped(f"the network takes {manifest.model.planes} channels")
    if any(isinstance(side, int) for side in engine.inputs[0].shape[2:]):
        return skipped("the engine takes one size, so every picture is tiled")
    if bounds is not None and (bounds.largest[0] < height or bounds.largest[1] < width or min(bounds.smallest) > side):
        return skipped(f"the plan does not take both {side}x{side} and {height}x{width} pixels")
    seeded = tile_picture(height, width, manifest, noise=manifest.tile_noise)
    every = [seeded, *(p for p in pictures if min(p.shape[:2]) > side)]

    def compare() -> tuple[SelfTest, SelfTest]:
        lowest, worst = compare_tiles(engine, manifest, side, every)
        kind = f" of a picture with noise of {255 * manifest.tile_noise:.0f}/255" if not pictures else ""
        words = f"{lowest:.1f} dB between tiles of {side} pixels and the whole{kind}, limit {limits.min_psnr:g} dB"
        close = SelfTest(TILED, _word(lowest >= limits.min_psnr), words, _finite(lowest), limits.min_psnr)
        words = f"the jump across borders exceeds that elsewhere by {worst:.2g}, limit {limits.max_seam:.2g}"
        return close, SelfTest(SEAMS, _word(worst <= limits.max_seam), words, _finite(worst), limits.max_seam)

    try:
        return compare()
    except EngineError as error:
        failure = SelfTest(TILED, "fail", error.message.rstrip("."))
        return failure, dataclasses.replace(failure, name=SEAMS)


def compare_tiles(
    engine: Engine, manifest: ModelManifest, side: int, pictures: Sequence[NDArray[np.float32]]
) -> tuple[float, float]:
    """Restores pictures [H, W, 3] whole and in tiles.

    Returns:
        The lowest PSNR between the two (dB), and the largest `seam` over the span from black to white.
    """
    tiles, whole = Restorer(engine, manifest, tile=side), Restorer(engine, manifest, tile="off")
    span = manifest.value_range[1] - manifest.value_range[0]
    lowest, worst = np.inf, -np.inf
    for picture in pictures:
        cut, full = tiles(picture), whole(picture)
        lowest = min(lowest, psnr(cut, full, span))
        plan = tiles.plan(*picture.shape[:2])
        worst = max(worst, seam(cut - full, plan, manifest.scale) / span)
    return lowest, worst


def seam(difference: NDArray[np.float32], plan: TilePlan, scale: int = 1) -> float:
    """How much more a difference [H, W, C] jumps across tile borders than between other neighbours, on average."""
    worst = -np.inf
    for axis, spans in ((0, plan.rows), (1, plan.columns)):
        borders = _borders(spans, scale)
        jumps = np.abs(np.diff(difference.astype(np.float64), axis=axis)).mean(axis=(1 - axis, 2))
        at = np.zeros(len(jumps), bool)
        at[[border - 1 for border in borders]] = True
        if at.any() and not at.all():
            worst = max(worst, max(jumps[at]) - jumps[~at].mean())  # one visible line is one too many
    return float(worst)


def _borders(axis: Axis, scale: int) -> list[int]:
    """First pixels behind a border: where a later tile begins and where an earlier one has ended."""
    begins = axis.starts[1:]
    ends = [start + axis.size for start in axis.starts[:-1]]
    return sorted({pixel * scale for pixel in (*begins, *ends)})


def static_test(bundle: Bundle, engine: Engine, open_with: Open, limits: Limits, tile: int, folder: Path) -> SelfTest:
    """Fixes a dynamic graph's shape to one tile and restores an odd-sized picture with both.

    Args:
        bundle: the graph.
        engine: it, open.
        open_with: opens the fixed graph in the same engine, with the same number of iterations.
        limits: how far the two may differ.
        tile: side of the fixed input (pixels).
        folder: takes the fixed graph.
    """
    manifest = bundle.manifest
    if any(isinstance(side, int) for side in manifest.inputs[0].shape[2:]) or manifest.model.planes != 3:
        return SelfTest(STATIC, "not checked", "the graph has one fixed shape, or takes no RGB picture")
    if manifest.parts:
        return SelfTest(STATIC, "not checked", "a split bundle has no single graph to fix")
    side = round_up(tile, manifest.size_multiple)
    try:
        fixed = fix_shape(bundle, (1, 3, side, side), folder)
    except MissingDependency as error:
        return SelfTest(STATIC, "not checked", error.message.rstrip("."))
    picture = tile_picture(side + side // 2 + 1, side + 3, manifest)

    def compare() -> SelfTest:
        free = Restorer(engine, manifest, tile=side)(picture)
        with open_with(fixed) as static:
            return judged(STATIC, free, Restorer(static, fixed.manifest)(picture), limits)

    return guarded(STATIC, compare)


def fix_shape(bundle: Bundle, shape: tuple[int, int, int, int], folder: Path) -> Bundle:
    """A copy of a bundle's graph whose input takes one shape only, without a golden file.

    Raises:
        MissingDependency: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", "cpu", "to fix the shape of a graph") from error
    model = onnx.load(str(bundle.graph))
    scaled = (*shape[:2], *(side * bundle.manifest.scale for side in shape[2:]))
    for values, sides in ((model.graph.input, shape), (model.graph.output, scaled)):
        for dim, side in zip(values[0].type.tensor_type.shape.dim, sides, strict=True):
            dim.dim_value = side
    path = folder / "static.onnx"
    onnx.save(model, str(path))
    spec = dataclasses.replace(bundle.manifest.inputs[0], shape=shape)
    hashes = {".onnx": sha256_of(path)}
    return Bundle(path, dataclasses.replace(bundle.manifest, inputs=(spec,), sha256=hashes))


def tile_picture(
    height: int, width: int, manifest: ModelManifest, seed: int = 12, noise: float = NOISE
) -> NDArray[np.float32]:
    """A seeded natural picture [height, width, 3] in the network's range of values."""
    black, white = manifest.value_range
    picture = natural_batch((1, 3, height, width), seed, noise)[0].transpose(1, 2, 0)
    return np.ascontiguousarray(picture * np.float32(white - black) + np.float32(black))


def _word(sound: bool) -> str:
    return "pass" if sound else "fail"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
