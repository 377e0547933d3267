"""What a folder costs and survives: a run killed with -9 at random moments, and two workers against one.

python benchmarks/folder.py --pictures 500 --kills 3 --rounds 3

Crops of 64x64 from a photograph of scikit-image, `denoise-light`. After the kills and one last run it checks that every
result is there and whole, that none that was there before a kill was written again (inode and time of change), and
that the journal names each picture once. The throughput is that of rounds in which one and two workers take turns,
opening of the engines included; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image
from skimage import data

from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS, read_entries


def write_crops(folder: Path, count: int, side: int) -> None:
    photo, chance = Image.fromarray(data.astronaut()), random.Random(0)
    folder.mkdir()
    for number in range(count):
        left, top = chance.randrange(photo.width - side), chance.randrange(photo.height - side)
        photo.crop((left, top, left + side, top + side)).save(folder / f"{number:04}.png")


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "nafnet_deploy", "run", folder, "-o", out, "--workers", str(workers), "--json"]
    line += ["--engine", "onnxruntime", "--threads", "1"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def results(out: Path) -> dict[str, tuple[int, int]]:
    found = {path.name: path.stat() for path in out.glob("*.png")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def survive(folder: Path, out: Path, kills: int, workers: int) -> dict[str, object]:
    """Kills runs and finishes the work; what was found."""
    total, chance, seen = len(list(folder.iterdir())), random.Random(), {}
    left_at, rewritten = [], 0
    for _ in range(kills):
        goal = min(len(seen) + chance.randint(1, max(total // (kills + 1), 1)), total - 1)
        process = start(folder, out, workers)
        while process.poll() is None and len(list(out.glob("*.png"))) < goal:
            time.sleep(0.002)
        time.sleep(chance.random() / 50)
        process.kill()
        process.wait()
        now = results(out)
        rewritten += sum(now.get(name) != stamp for name, stamp in seen.items())
        seen = now
        left_at.append(len(now))
    start(folder, out, workers).communicate()
    now = results(out)
    rewritten += sum(now.get(name) != stamp for name, stamp in seen.items())
    broken = 0
    for path in out.glob("*.png"):
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError):
            broken += 1
    lines = Counter(entry.source for entry in read_entries((out / JOURNAL).read_bytes()))
    return {
        "pictures": total,
        "workers": workers,
        "results_at_each_kill": left_at,
        "restored": len(now),
        "written_again": rewritten,
        "twice_in_the_journal": sum(times > 1 for times in lines.values()),
        "missing_from_the_journal": total - len(lines),
        "broken": broken,
        "left_behind": (out / PARTS).exists(),
    }


def throughput(folder: Path, place: Path, rounds: int) -> dict[str, object]:
    """Pictures per second of one and two workers in turn."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers in (1, 2) if turn % 2 == 0 else (2, 1):
            summary = json.loads(start(folder, place / "out", workers).communicate()[0])
            rates[workers].append(summary["pictures_per_second"])
            shutil.rmtree(place / "out")
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "pictures_per_second": rates,
        "ratio_of_two_to_one": round(statistics.median(ratios), 3),
        "load_at_the_end": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_crops(root / "in", given.pictures, given.side)
        report = {
            "killed": [survive(root / "in", root / f"killed{workers}", given.kills, workers) for workers in (1, 2)],
            "throughput": throughput(root / "in", root, given.rounds) if given.rounds else None,
        }
    json.dump(report, sys.stdout, indent=2)
    print()
