"""How long a split bundle should think: quality against time over a folder, and the thresholds that follow from it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.calibration_report import Calibration, Point
from nafnet_deploy.benchmarks.pairs import check_sizes, match_pairs
from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import ConfigError, EngineError, ImageError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.images.padding import pad_to, round_up
from nafnet_deploy.manifest import HEAD, STEP, TAIL, ModelManifest, Stopping
from nafnet_deploy.metrics import psnr
from nafnet_deploy.runtime.step_measures import Traces

LOSSES = {"fast": 0.1, "balanced": 0.02}
"""Largest mean PSNR (dB) that a quality may lose against all iterations; `best` runs them all."""
AGREEMENT = {"fast": 45.0, "balanced": 55.0}
"""The same without clean pictures: mean PSNR (dB) that it must reach against the picture of all iterations."""
EQUAL = 100.0
"""Stands for the infinite PSNR (dB) of equal pictures: no difference that a file could hold."""
TIMED = 5
"""Timed passes per part, at the size of the first picture."""
THRESHOLDS = 400
"""Most thresholds tried."""
Array = NDArray[np.float64]


def calibrate(
    engine: AnytimeEngine,
    manifest: ModelManifest,
    folder: Path,
    clean: Path | None = None,
    sigma: tuple[float, float] | None = None,
    side: int = 256,
    seed: int = 0,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
    on_bad: Callable[[ImageError], None] = lambda error: None,
    threads: int = 0,
) -> Calibration:
    """Runs all iterations on every picture of a folder and finds how early each could have stopped.

    Args:
        engine: the bundle, its rule's largest number is the last iteration looked at.
        manifest: its contract.
        folder: degraded pictures, small ones for a network that enlarges; with `sigma`, clean ones.
        clean: folder of clean pictures with the same stems; without it and `sigma`, quality is measured against the
            picture of the last iteration.
        sigma: lowest and highest level of Gaussian noise to add, in steps of 255; None for a network that enlarges.
        side: the middle of each picture is used, at most so many pixels high and wide, of `folder`'s size.
        seed: of the noise.
        on_picture: told (pictures done, pictures in all).
        on_bad: told why a picture is left out.
        threads: what the engine was told; recorded.

    Raises:
        UsageError: a missing or empty folder, pairs that do not match, or no picture that can be read.
        ConfigError: both `clean` and `sigma`, an impossible range, or noise for a network that enlarges.
        EngineError: the engine failed.
    """
    if clean is not None and sigma is not None:
        raise ConfigError("pictures are either degraded or get noise.", "Give one of --clean and --sigma.")
    if sigma is not None and not (0 <= sigma[0] <= sigma[1] and math.isfinite(sigma[1])):
        raise ConfigError(f"--sigma {sigma[0]:g} {sigma[1]:g} is impossible.", "Give a low and a high level from 0.")
    scale = manifest.scale
    if scale > 1 and sigma is not None:
        raise ConfigError(f"{manifest.name} enlarges pictures; it is not given noise.", "Leave --sigma out.")
    if side < 16:
        raise ConfigError(f"--imgsz {side} is impossible.", "Use 16 pixels or more.")
    if engine.rule.max_iterations < 2:
        raise ConfigError("one iteration leaves nothing to choose.", "Use --max-iters 2 or more.")
    pairs = [(path, path) for path in list_pictures(folder)] if clean is None else match_pairs(folder, clean, scale)
    if clean is not None:
        check_sizes(pairs, scale)
    rng = np.random.default_rng(seed)
    rows: list[tuple[list[float], list[float], list[float]]] = []
    first: NDArray[np.float32] | None = None
    for done, (source, target) in enumerate(pairs, 1):
        try:
            degraded, wanted = (_middle(read_picture(p).pixels, side, s) for p, s in ((source, 1), (target, scale)))
        except ImageError as error:
            on_bad(error)
            on_picture(done, len(pairs))
            continue
        if sigma is not None:
            level = np.float32(rng.uniform(*sigma) / 255)
            degraded = wanted + level * rng.standard_normal(wanted.shape, dtype=np.float32)
        batch, size = _batch(degraded, manifest), (scale * degraded.shape[0], scale * degraded.shape[1])
        first = batch if first is None else first
        rows.append(_trace(engine, batch, size, None if clean is None and sigma is None else wanted))
        on_picture(done, len(pairs))
    if first is None:
        raise UsageError(f"none of the {len(pairs)} pictures of {folder} can be read.", "Give whole pictures.")
    deltas, changes, quality = (np.array(column) for column in zip(*rows, strict=True))
    traces = Traces(deltas, changes)
    costs = {part: 1e3 * seconds for part, seconds in time_parts(engine, first).items()}
    stopping = traces.fit(f"{len(rows)} pictures of {folder.resolve().name}")
    points = curve(traces, quality, stopping, costs)
    blind = clean is None and sigma is None
    return Calibration(
        model=manifest.name,
        graph_sha256=manifest.graph_sha256,
        engine=engine.name,
        pictures=len(rows),
        against="all iterations" if blind else "clean",
        shape=(first.shape[2], first.shape[3]),
        part_ms=costs,
        points=points,
        stopping=dataclasses.replace(stopping, quality=recommend(points, blind), iterations=engine.rule.max_iterations),
        environment=read_environment(threads),
    )


def curve(traces: Traces, quality: Array, stopping: Stopping, costs: dict[str, float]) -> tuple[Point, ...]:
    """Fixed numbers of iterations, and the rule at every threshold at which it decides differently.

    Computed from what all iterations did.

    Args:
        traces: what every iteration did to every picture.
        quality: PSNR (dB) after it, [pictures, iterations].
        stopping: how `delta` relates to the picture.
        costs: milliseconds of head, step and tail.
    """
    most = traces.delta.shape[1]
    points = [_point("fixed", float(n), np.full(len(quality), n), quality, costs) for n in range(1, most + 1)]
    seen = np.unique(traces.delta[:, :-1] * stopping.picture_per_state)
    borders = seen[np.linspace(0, len(seen) - 1, min(len(seen), THRESHOLDS)).astype(int)]
    found = []
    for border in borders:
        bound = StopRule(most, float(np.nextafter(max(border, 1e-30), np.inf)), stopping)
        stop = np.stack([bound.done(n, traces.delta[:, n - 1]) for n in range(1, most + 1)], axis=1)
        found.append(_point("last", float(bound.until_delta or 0), stop.argmax(axis=1) + 1, quality, costs))
    points.extend(sorted(found, key=lambda p: p.milliseconds))
    return tuple(points)


def recommend(points: Sequence[Point], blind: bool = False) -> dict[str, float]:
    """The thresholds of the rule `last` that are cheapest and good enough; none where nothing is.

    Args:
        points: the curve.
        blind: whether quality is agreement with the picture of all iterations (`AGREEMENT`), not with clean ones.
    """
    full = [p for p in points if p.rule == "fixed"][-1]
    least = AGREEMENT if blind else {quality: full.psnr - loss for quality, loss in LOSSES.items()}
    chosen = {}
    for quality, decibels in least.items():
        able = [p for p in points if p.rule == "last" and p.psnr >= decibels]
        if able:
            chosen[quality] = min(able, key=lambda p: (p.milliseconds, -p.psnr)).threshold
    return chosen


def time_parts(engine: AnytimeEngine, batch: NDArray[np.float32]) -> dict[str, float]:
    """Median seconds of head, step and tail for a batch [B, C, H, W]."""
    taken: dict[str, list[float]] = {HEAD: [], STEP: [], TAIL: []}
    stepper = engine.stepper
    for round_ in range(TIMED + 1):
        for part, work in (
            (HEAD, lambda: stepper.begin(batch)),
            (STEP, stepper.step),
            (TAIL, lambda: stepper.picture(range(len(batch)))),
        ):
            began = time.perf_counter()
            work()
            if round_:  # the first round warms up
                taken[part].append(time.perf_counter() - began)
    return {part: float(np.median(times)) for part, times in taken.items()}


def _trace(
    engine: AnytimeEngine, batch: NDArray[np.float32], size: tuple[int, int], wanted: NDArray[np.float32] | None
) -> tuple[list[float], list[float], list[float]]:
    """Of a padded batch of one, whose restored picture has that height and width: delta, change and PSNR (dB)."""
    height, width = size
    deltas, pictures = [], []
    for glimpse in engine.iterate({engine.inputs[0].name: batch}):
        deltas.append(float(glimpse.delta[0]))
        pictures.append(np.clip(glimpse.picture[0, :, :height, :width].transpose(1, 2, 0), 0, 1).astype(np.float32))
    goal = pictures[-1] if wanted is None else wanted
    quality = [min(psnr(picture, goal), EQUAL) for picture in pictures]
    change = [float(np.sqrt(np.mean((b - a) ** 2))) for a, b in itertools.pairwise(pictures)]
    return deltas, change, quality


def _point(rule: str, threshold: float, counts: NDArray[Any], quality: Array, costs: dict[str, float]) -> Point:
    reached = quality[np.arange(len(counts)), counts - 1].mean()
    mean = float(counts.mean())
    return Point(rule, threshold, mean, costs[HEAD] + mean * costs[STEP] + costs[TAIL], float(reached))


def _middle(pixels: NDArray[np.float32], side: int, scale: int) -> NDArray[np.float32]:
    """The middle of a picture that is `scale` times as large as the one to whose pixels `side` applies."""
    top, left = (max(0, (size // scale - side) // 2) * scale for size in pixels.shape[:2])
    return pixels[top : top + side * scale, left : left + side * scale]


def _batch(pixels: NDArray[np.float32], manifest: ModelManifest) -> NDArray[np.float32]:
    height, width = (round_up(size, manifest.size_multiple) for size in pixels.shape[:2])
    spec = manifest.inputs[0].shape
    if any(isinstance(want, int) and want != got for want, got in zip(spec, (1, 3, height, width), strict=True)):
        raise EngineError(
            f"{manifest.name} takes {list(spec)}, which the pictures are not.", "Export it with --imgsz dynamic."
        )
    return pad_to(pixels.transpose(2, 0, 1), height, width, manifest.padding)[None]
