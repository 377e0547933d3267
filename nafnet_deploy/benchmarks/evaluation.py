"""How good the restored pictures are: PSNR and SSIM over clean pictures with added noise, or shrunk, or over pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport, PictureScore, Quality, Skipped
from nafnet_deploy.benchmarks.pairs import check_sizes, join_views, match_pairs
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.images.resize import enlarge, shrink, to_multiple
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.metrics import psnr, psnr_y, ssim, ssim_y
from nafnet_deploy.runtime.restorer import Restorer

Floats = NDArray[np.float32]
Views = list[tuple[Path, Path]]
"""The degraded and the clean file of one picture, or of each view of a stereo pair."""


def evaluate(
    restorers: Mapping[int, Restorer],
    manifest: ModelManifest,
    clean: Path,
    degraded: Path | None = None,
    sigma: float | None = None,
    seed: int = 0,
    engine: str = "",
    on_picture: Callable[[int, int], None] = lambda done, total: None,
    threads: int = 0,
) -> EvaluationReport:
    """Restores degraded pictures with every restorer and compares the results with the clean ones.

    A network that enlarges is given small pictures, or clean ones shrunk (bicubic, rounded to 8 bits); the input that
    it is compared with is the small picture enlarged without it (bicubic). Of a stereo pair, the figures are the means
    of both views.

    Args:
        restorers: iteration count N -> restorer.
        manifest: contract of their graph.
        clean: folder of clean pictures, taken in name order.
        degraded: folder of degraded pictures, matched with the clean ones by stem; None to add noise instead, or to
            shrink for a network that enlarges.
        sigma: level of that Gaussian noise in steps of 255; the noisy picture is neither clipped nor rounded. None
            for a network that enlarges.
        seed: of the noise; one generator draws it for all pictures that could be read, in their order.
        engine: the engine's own name, for the report.
        on_picture: told (pictures done, pictures in all).
        threads: what the engines were told; recorded.

    Returns:
        The report; a picture that cannot be read, or is too small for SSIM, is in its `skipped` and not in its means.

    Raises:
        UsageError: a missing or empty folder, pairs that do not match in name or size, views without their partner, or
            no picture that can be read.
        ConfigError: an impossible sigma, both or neither of `degraded` and `sigma`, or noise for a network that
            enlarges.
    """
    scale = manifest.scale
    if scale > 1 and sigma is not None:
        raise ConfigError(f"{manifest.name} enlarges pictures; it is not given noise.", "Leave --sigma out.")
    if scale == 1 and (degraded is None) == (sigma is None):
        raise ConfigError("pictures are either degraded or get noise.", "Give one of --degraded and --sigma.")
    if sigma is not None and not (sigma >= 0 and math.isfinite(sigma)):
        raise ConfigError(f"--sigma {sigma:g} is impossible.", "Use 0 or more.")
    if degraded is None:
        files = [(path, path) for path in list_pictures(clean)]
    else:
        files = match_pairs(degraded, clean, scale)
        check_sizes(files, scale)
    pairs: list[Views] = [[pair] for pair in files] if manifest.model.views == 1 else join_views(files)
    rng = np.random.default_rng(seed)
    scores: list[PictureScore] = []
    skipped: list[Skipped] = []
    for done, views in enumerate(pairs, 1):
        name = views[0][0].name
        try:
            read = [_read(*view, scale, sigma, rng) for view in views]
            before, after = (np.concatenate(part, axis=2) for part in zip(*read, strict=True))
            score = _quality(before if scale == 1 else _enlarged(before, scale), after)
        except ImageError as error:
            skipped.append(Skipped(name, _without_folders(error.message, *(path for view in views for path in view))))
        else:
            restored = tuple(_quality(restore.in_unit_range(before), after) for restore in restorers.values())
            scores.append(PictureScore(name, score, restored))
        on_picture(done, len(pairs))
    if not scores:
        raise UsageError(
            f"none of the {len(pairs)} pictures of {clean} can be evaluated; the first: {skipped[0].reason}",
            "Give whole pictures.",
        )
    return EvaluationReport(
        model=manifest.name,
        graph_sha256=manifest.graph_sha256,
        engine=engine,
        clean=clean.resolve().name,
        degraded="" if degraded is None else degraded.resolve().name,
        sigma=sigma,
        seed=seed,
        iterations=tuple(restorers),
        pictures=tuple(scores),
        skipped=tuple(skipped),
        environment=read_environment(threads),
    )


def _read(
    source: Path, target: Path, scale: int, sigma: float | None, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A degraded and a clean picture [H, W, 3] in [0, 1]."""
    clean = read_picture(target).pixels
    if sigma is not None:
        return clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32), clean
    if source != target:
        return read_picture(source).pixels, clean
    clean = to_multiple(clean, scale)
    if min(clean.shape[:2]) < scale:
        raise ImageError(f"{target} is too small to be shrunk {scale} times.", "Take it out.")
    return (shrink(_rounded(clean), scale) / np.float32(255)).astype(np.float32), clean


def _enlarged(small: Floats, scale: int) -> Floats:
    return (enlarge(_rounded(small), scale) / np.float32(255)).astype(np.float32)


def _rounded(picture: Floats) -> NDArray[np.uint8]:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _quality(pictures: Floats, clean: Floats) -> Quality:
    """Of one picture [H, W, 3], or the mean over the views of a pair [H, W, 6]."""
    views = (slice(first, first + 3) for first in range(0, clean.shape[2], 3))
    return Quality.mean(
        [
            Quality.of(*(metric(pictures[..., v], clean[..., v]) for metric in (psnr, ssim, psnr_y, ssim_y)))
            for v in views
        ]
    )


def _without_folders(message: str, *paths: Path) -> str:
    """A report may be published: where the pictures lay on this machine is nobody's business."""
    for path in paths:
        message = message.replace(str(path), path.name)
    return message
