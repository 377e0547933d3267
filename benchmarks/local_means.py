"""Measures tiles against the whole picture, with local means (TLC) and without.

    OMP_NUM_THREADS=1 python benchmarks/local_means.py           # some minutes

Photographs of scikit-image are spoiled as each released network was trained to mend, restored whole and in tiles by
PyTorch through the same `Restorer` that deployed engines run in, and compared: the tiled picture with the whole one,
and both with the clean one. The result is written after every window.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import data

from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.engines.torch import TorchEngine
from nafnet_deploy.environment import read_environment
from nafnet_deploy.metrics import psnr
from nafnet_deploy.models.local_means import localise
from nafnet_deploy.models.registry import picture
from nafnet_deploy.released import find_bundle
from nafnet_deploy.runtime.restorer import Restorer
from nafnet_deploy.tables import plain

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = ("astronaut", "coffee")
DAMAGE = {"denoise-light": Degradation(sigma=(25, 25)), "deblur-light": Degradation(type="motion")}
WINDOWS = (0, 192, 384)
"""Windows of local means (pixels); 0 is the global mean. 192 is 1.5 times the training crops of 128."""
TILES = (256,)


def measure(name: str, window: int) -> list[dict[str, Any]]:
    """One row per photograph; PSNR in dB."""
    manifest = find_bundle(name).manifest
    checkpoint = load_model(name)
    network = localise(checkpoint.network(), checkpoint.config, window)
    rows = []
    with TorchEngine(lambda x: picture(network, x, manifest.default_iterations)) as engine:
        for index, photograph in enumerate(PHOTOGRAPHS):
            clean: NDArray[np.float32] = getattr(data, photograph)().astype(np.float32) / np.float32(255)
            spoiled = DAMAGE[name](clean, np.random.default_rng((0, index)))
            whole = Restorer(engine, manifest, tile="off")(spoiled)
            row: dict[str, Any] = {"photograph": photograph, "size": list(clean.shape[:2])}
            row["whole"] = round(psnr(whole, clean), 3)
            for side in TILES:
                cut = Restorer(engine, manifest, tile=side)(spoiled)
                row[f"tiles_{side}"] = round(psnr(cut, clean), 3)
                row[f"agreement_{side}"] = round(psnr(cut, whole), 2)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks/results/local-means.json")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {name: {} for name in DAMAGE}
    for name in DAMAGE:
        for window in WINDOWS:
            found[name][str(window)] = measure(name, window)
            print(name, window, json.dumps(found[name][str(window)]), flush=True)
            report = {"tiles": TILES, "environment": plain(read_environment(threads=1)), "models": found}
            options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
