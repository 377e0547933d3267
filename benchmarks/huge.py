"""Figures of a picture restored in parts: peak memory, time per megapixel, agreement with the whole picture, seams.

    python benchmarks/huge.py                          # 100 and 4 megapixels within 1500MB; minutes to an hour
    python benchmarks/huge.py --large 25 --iters 1     # less time
    python benchmarks/huge.py -o benchmarks/results/huge-denoise-light.json --crop seams.png

The picture is made of scikit-image's astronaut, mirrored so that it has no edges of its own, with noise of sigma 25.
Every restoration is a process of its own, whose memory and processor time the system counts; what a process takes to
restore 16x16 pixels is stated as its start and taken off the time per megapixel. The extra [huge] is needed, and
[demo] for the photograph.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from nafnet_deploy.environment import read_environment
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.picture import Picture
from nafnet_deploy.images.windows import write_rows
from nafnet_deploy.metrics import psnr
from nafnet_deploy.released import find_bundle

SIGMA, SEED, BAND = 25, 0, 256


def make(path: Path, megapixels: float) -> None:
    """Writes a noisy square picture, band by band."""
    side = round((megapixels * 1e6) ** 0.5)
    photo = astronaut()
    across = np.concatenate([photo, photo[:, ::-1]], axis=1)
    block = np.concatenate([across, across[::-1]])
    nature = Picture(np.empty((0, side, 3), np.float32), None, 8, False, None, None, None, Path("made"))
    rng = np.random.default_rng(SEED)
    columns = np.arange(side) % block.shape[1]
    with write_rows(nature, path, side, side) as writer:
        for top in range(0, side, BAND):
            rows = np.arange(top, min(top + BAND, side)) % block.shape[0]
            clean = block[rows][:, columns]
            noise = SIGMA * rng.standard_normal(clean.shape, np.float32)
            writer.rows(np.rint(np.clip(clean + noise, 0, 255)).astype(np.uint8))


def restore(source: Path, target: Path, *options: str) -> dict[str, float]:
    """One restoration in a process of its own: its peak memory (MB), seconds and processor seconds."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "nafnet_deploy", "run", str(source), "-o", str(target), *options])
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"nafdeploy run {source.name} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }


def per_megapixel(took: dict[str, float], start: dict[str, float], megapixels: float) -> dict[str, float]:
    """What a restoration took, and what of it each megapixel after the start."""
    each = {f"{name}_per_mp": (took[name] - start[name]) / megapixels for name in ("seconds", "cpu_seconds")}
    return {"megapixels": megapixels, **took, **each}


def crop(tiled: Path, whole: Path, path: Path) -> None:
    """Draws the middle of the restored picture, and its difference from the whole one, 64 times amplified."""
    a, b = (read_picture(p).pixels for p in (tiled, whole))
    middle = a.shape[0] // 2
    part = np.s_[max(middle - 400, 0) : middle + 400, max(middle - 400, 0) : middle + 400]
    difference = 0.5 + 64 * (a[part] - b[part])
    sheet = np.concatenate([a[part], np.clip(difference, 0, 1)], axis=1)
    Image.fromarray(np.rint(255 * sheet).astype(np.uint8)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", type=float, default=100.0, help="megapixels")
    parser.add_argument("--small", type=float, default=4.0, help="megapixels")
    parser.add_argument("--memory", default="1500MB")
    parser.add_argument("--model", default="denoise-light")
    parser.add_argument("--iters", type=int)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("-o", "--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--crop", type=Path, help="picture of the middle and of its difference from the whole")
    args = parser.parse_args()
    n = args.iters or find_bundle(args.model).manifest.default_iterations
    options = ("-m", args.model, "--iters", str(n), "--engine", args.engine)
    with tempfile.TemporaryDirectory() as folder:
        names = ("first", "small", "large", "parts", "big", "whole")
        first, small, large, parts, big, whole = (Path(folder) / f"{name}.tif" for name in names)
        for path, megapixels in ((first, 256e-6), (small, args.small), (large, args.large)):
            make(path, megapixels)
        limited = (*options, "--memory", args.memory)
        start = restore(first, parts, *limited)
        figures = {
            "small": per_megapixel(restore(small, parts, *limited), start, args.small),
            "large": per_megapixel(restore(large, big, *limited), start, args.large),
        }
        restore(small, whole, *options, "--tile", "off")
        agreement = psnr(read_picture(parts).pixels, read_picture(whole).pixels, 1.0)
        if args.crop:
            crop(parts, whole, args.crop)
    report = {
        "model": args.model,
        "iterations": n,
        "memory": args.memory,
        "start": start,
        **figures,
        "time_ratio": figures["large"]["seconds_per_mp"] / figures["small"]["seconds_per_mp"],
        "cpu_time_ratio": figures["large"]["cpu_seconds_per_mp"] / figures["small"]["cpu_seconds_per_mp"],
        "tiled_whole_psnr_db": agreement,
        "environment": read_environment(0),
    }
    text = json.dumps(report, indent=1, default=vars)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
