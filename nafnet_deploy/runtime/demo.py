"""A demonstration that needs no picture of the user's: a bundled photograph, noise, and its restoration."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nafnet_deploy.errors import ConfigError, ImageError, MissingDependency
from nafnet_deploy.metrics import psnr
from nafnet_deploy.runtime.files import restore_file
from nafnet_deploy.runtime.restorer import Restorer

CAPTION = 28
"""Height of the caption above each picture (pixels)."""


@dataclasses.dataclass(frozen=True)
class DemoResult:
    """What the demonstration wrote and measured."""

    noisy: Path
    """The spoiled photograph, 8-bit PNG."""
    restored: Path
    """Its restoration, 8-bit PNG."""
    comparison: Path
    """Both side by side with the original, 8-bit PNG."""
    noisy_psnr: float
    """PSNR of the spoiled 8-bit picture (dB)."""
    restored_psnr: float
    """PSNR of the restored 8-bit picture (dB)."""


def run_demo(restorer: Restorer, out: Path, sigma: float, seed: int = 0) -> DemoResult:
    """Spoils the sample photograph with Gaussian noise, restores it as a file, and draws the comparison.

    Args:
        restorer: ready to run.
        out: folder, made when missing.
        sigma: noise level in steps of 255; the noisy picture is clipped and rounded to 8 bits like any photo.
        seed: of the noise.

    Raises:
        ConfigError: an impossible `sigma`.
        MissingDependency: scikit-image, which brings the photograph, is not installed.
        ImageError: the folder cannot be written.
    """
    if not 0 <= sigma < math.inf:
        raise ConfigError(f"--sigma {sigma:g} is impossible.", "Use 0 or more.")
    clean = sample_photograph()
    rng = np.random.default_rng(seed)
    noisy = clean + rng.normal(scale=sigma, size=clean.shape)
    result = DemoResult(out / "noisy.png", out / "restored.png", out / "before-after.png", 0.0, 0.0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _save(Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8)), result.noisy)
        restore_file(restorer, result.noisy, result.restored)
        before, after = (np.asarray(Image.open(p)) for p in (result.noisy, result.restored))
        scores = [psnr(p / 255, clean / 255) for p in (before, after)]
        captions = (f"noisy, {scores[0]:.1f} dB", f"restored, {scores[1]:.1f} dB", "original")
        _save(side_by_side((before, after, clean), captions), result.comparison)
    except OSError as error:
        raise ImageError(f"{out} cannot be written: {error.strerror}.", "Choose another folder with -o.") from error
    return dataclasses.replace(result, noisy_psnr=scores[0], restored_psnr=scores[1])


def _save(picture: Image.Image, path: Path) -> None:
    """Writes a PNG whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        picture.save(part, format="PNG")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sample_photograph() -> NDArray[np.uint8]:
    """A photograph of a cat, uint8 [300, 451, 3] (Stefan van der Walt, CC0, bundled with scikit-image).

    Raises:
        MissingDependency: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise MissingDependency("scikit-image", "demo", "for the sample photograph") from error
    photograph: NDArray[np.uint8] = data.chelsea()  # type: ignore[no-untyped-call]
    return photograph


def side_by_side(pictures: tuple[NDArray[np.uint8], ...], captions: tuple[str, ...]) -> Image.Image:
    """uint8 [H, W, 3] pictures of one size in a row, each under its caption."""
    height, width = pictures[0].shape[:2]
    sheet = Image.new("RGB", (width * len(pictures), height + CAPTION), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        sheet.paste(Image.fromarray(picture), (i * width, CAPTION))
        draw.text((i * width + 8, 4), caption, fill="black", font=font)
    return sheet
