"""Trains a tiny network of every kind for some seconds, to show that each learns and that gradients reach all of it.

    OMP_NUM_THREADS=1 python benchmarks/short_trainings.py       # a few minutes

The networks are in `short_trainings.toml`. Those that restore at the same size take noise of sigma 25 out of
scikit-image's photographs; those that enlarge are given means of s x s pixels, and a stereo network scikit-image's
stereo pair, its left part to train and its right part to validate. The score of the unchanged input is that of the
noisy picture, or of its bilinear enlargement. The result is written after every network; those that it holds already
are kept unless named by --only.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.environment import read_environment
from nafnet_deploy.models.registry import build, count_parameters, picture, pictures
from nafnet_deploy.tables import plain, read_table
from nafnet_deploy.training.losses import psnr_loss

ROOT = Path(__file__).parent.parent
STEPS, BATCH, CROP, LR = 200, 4, 32, 2e-3
SIGMA = 25.0
"""Of the noise, in steps of 255."""
VALIDATION = 128
"""Side (pixels) of the validation picture."""


def photographs(views: int) -> tuple[list[Tensor], Tensor]:
    """Clean pictures to train on and one to validate on, float32 [3 * views, H, W] in [0, 1]."""
    from skimage import data

    def tensor(pixels: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels[..., :3].transpose(2, 0, 1))).float() / 255

    if views == 2:
        left, right, _ = data.stereo_motorcycle()
        both = torch.cat([tensor(left), tensor(right)])
        half = both.shape[2] // 2
        return [both[:, :, :half]], _middle(both[:, :, half:])
    return [tensor(data.chelsea()), tensor(data.coffee()), tensor(data.rocket())], _middle(tensor(data.astronaut()))


def _middle(clean: Tensor) -> Tensor:
    top, left = ((side - VALIDATION) // 2 for side in clean.shape[1:])
    return clean[None, :, top : top + VALIDATION, left : left + VALIDATION]


def degrade(clean: Tensor, scale: int, generator: torch.Generator) -> Tensor:
    """What the network is given for clean pictures [B, C, H, W]."""
    if scale > 1:
        return F.avg_pool2d(clean, scale)
    return clean + SIGMA / 255 * torch.randn(clean.shape, generator=generator)


def unchanged(degraded: Tensor, scale: int) -> Tensor:
    """The restored picture of a network that does nothing."""
    if scale == 1:
        return degraded
    return F.interpolate(degraded, scale_factor=scale, mode="bilinear", align_corners=False)


def score(restored: Tensor, clean: Tensor) -> float:
    """PSNR (dB, range 1), not clipped."""
    return float(-10 * torch.log10(F.mse_loss(restored, clean)))


def learn(network: nn.Module, config: ModelConfig) -> dict[str, Any]:
    """Trains; PSNR (dB) of the unchanged input, before and after, and the parameters that never had a gradient."""
    train, clean = photographs(config.views)
    generator = torch.Generator().manual_seed(0)
    degraded = degrade(clean, config.scale, generator)

    @torch.no_grad()
    def validate() -> float:
        return score(picture(network.eval(), degraded, config.iterations), clean)

    found: dict[str, Any] = {"unchanged": score(unchanged(degraded, config.scale), clean), "start": validate()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, betas=(0.9, 0.9), weight_decay=0.0)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, 1e-5)
    silent = {name for name, _ in network.named_parameters()}
    network.train()
    for step in range(STEPS):
        truth = torch.stack([_crop(train, np.random.default_rng((0, step, i))) for i in range(BATCH)])
        every = pictures(network, degrade(truth, config.scale, generator), config.iterations)
        optimizer.zero_grad()
        torch.stack([psnr_loss(restored, truth) for restored in every]).mean().backward()  # type: ignore[no-untyped-call]
        silent -= {n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay.step()
    found["trained"] = validate()
    return {key: round(value, 3) for key, value in found.items()} | {"without_gradient": sorted(silent)}


def _crop(sources: list[Tensor], rng: np.random.Generator) -> Tensor:
    source = sources[rng.integers(len(sources))]
    top, left = (int(rng.integers(side - CROP + 1)) for side in source.shape[1:])
    return source[:, top : top + CROP, left : left + CROP]


def configurations() -> dict[str, ModelConfig]:
    """Every network of short_trainings.toml."""
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    body = tables.pop("body")
    return {name: read_table(ModelConfig, {**body, **table}, name) for name, table in tables.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="these networks, anew")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/short-trainings.json")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["networks"] if options.out.exists() else {}
    for name, config in configurations().items():
        if name not in options.only if options.only else name in rows:
            continue
        torch.manual_seed(0)
        network = build(config)
        rows[name] = {"parameters": count_parameters(network), **learn(network, config)}
        print(name, json.dumps(rows[name]), flush=True)
        report = {
            "steps": STEPS,
            "batch": BATCH,
            "crop": CROP,
            "lr": LR,
            "sigma": SIGMA,
            "environment": plain(read_environment(threads=1)),
            "networks": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
