"""How good the restored pictures are: PSNR and SSIM over clean pictures with added noise, or over pairs of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport, PictureScore, Quality, Skipped
from nafnet_deploy.benchmarks.pairs import check_sizes, match_pairs
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import ConfigError, ImageError, UsageError
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.metrics import psnr, psnr_y, ssim, ssim_y
from nafnet_deploy.runtime.restorer import Restorer

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A degraded and a clean picture [H, W, 3] in [0, 1]."""


def evaluate(
    restorers: Mapping[int, Restorer],
    manifest: ModelManifest,
    clean: Path,
    degraded: Path | None = None,
    sigma: float | None = None,
    seed: int = 0,
    engine: str = "",
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationReport:
    """Restores degraded pictures with every restorer and compares the results with the clean ones.

    Args:
        restorers: iteration count N -> restorer.
        manifest: contract of their graph.
        clean: folder of clean pictures, taken in name order.
        degraded: folder of degraded pictures, matched with the clean ones by stem; None to add noise instead.
        sigma: level of that Gaussian noise in steps of 255; the noisy picture is neither clipped nor rounded.
        seed: of the noise; one generator draws it for all pictures that could be read, in their order.
        engine: the engine's own name, for the report.
        on_picture: told (pictures done, pictures in all).

    Returns:
        The report; a picture that cannot be read, or is too small for SSIM, is in its `skipped` and not in its means.

    Raises:
        UsageError: a missing or empty folder, pairs that do not match in name or size, an impossible sigma, both or
            neither of `degraded` and `sigma`, or no picture that can be read.
    """
    if (degraded is None) == (sigma is None):
        raise ConfigError("pictures are either degraded or get noise.", "Give one of --degraded and --sigma.")
    if sigma is not None and not (sigma >= 0 and math.isfinite(sigma)):
        raise ConfigError(f"--sigma {sigma:g} is impossible.", "Use 0 or more.")
    if manifest.scale != 1:
        raise ConfigError(f"{manifest.name} enlarges pictures.", "Evaluate a network that keeps their size.")
    if degraded is None:
        pairs = [(path, path) for path in list_pictures(clean)]
    else:
        pairs = match_pairs(degraded, clean)
        check_sizes(pairs)
    rng = np.random.default_rng(seed)
    scores: list[PictureScore] = []
    skipped: list[Skipped] = []
    for done, (source, target) in enumerate(pairs, 1):
        try:
            before, after = _read(source, target, sigma, rng)
            score = _quality(before, after)
        except ImageError as error:
            skipped.append(Skipped(source.name, _without_folders(error.message, source, target)))
        else:
            restored = tuple(_quality(restore.in_unit_range(before), after) for restore in restorers.values())
            scores.append(PictureScore(source.name, score, restored))
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
        environment=read_environment(),
    )


def _read(source: Path, target: Path, sigma: float | None, rng: np.random.Generator) -> Pair:
    clean = read_picture(target).pixels
    if sigma is None:
        return read_picture(source).pixels, clean
    return clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32), clean


def _quality(picture: NDArray[np.float32], clean: NDArray[np.float32]) -> Quality:
    return Quality.of(psnr(picture, clean), ssim(picture, clean), psnr_y(picture, clean), ssim_y(picture, clean))


def _without_folders(message: str, *paths: Path) -> str:
    """A report may be published: where the pictures lay on this machine is nobody's business."""
    for path in paths:
        message = message.replace(str(path), path.name)
    return message
