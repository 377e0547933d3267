"""Requests to a real `nafdeploy serve`, many at a time: what is lost, how long they take, what becomes of its memory.

python benchmarks/server.py --rounds 12 > benchmarks/results/server-denoise-light.json
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nafnet_deploy.environment import read_environment
from nafnet_deploy.runtime.demo import sample_photograph
from nafnet_deploy.tables import plain

SIGMA = 25


def main() -> None:
    """Runs the rounds and prints a report on stdout."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="denoise-light")
    options.add_argument("--requests", type=int, default=200)
    options.add_argument("--concurrent", type=int, default=16)
    options.add_argument("--side", type=int, default=128, help="of the pictures (pixels)")
    options.add_argument("--rounds", type=int, default=3, help="all requests, so many times")
    options.add_argument("--engine", default="onnxruntime")
    given = options.parse_args()
    line = [sys.executable, "-m", "nafnet_deploy", "serve", "-m", given.model, "--port", "0", "--engine", given.engine]
    server = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        first = server.stderr.readline()
        found = re.search(r":(\d+)/$", first.strip())
        if found is None:
            sys.exit(first + server.stderr.read())
        port = int(found[1])
        while ask(port, "GET", "/ready")[0] != 200:
            time.sleep(0.1)
        body = picture(given.side)
        ask(port, "POST", "/restore", body)
        report: dict[str, Any] = {
            "options": vars(given),
            "environment": plain(read_environment()),
            "start": first.strip(),
            "rounds": [
                one_round(port, server.pid, body, given.requests, given.concurrent) for _ in range(given.rounds)
            ],
        }
        _, text = ask(port, "GET", "/metrics")
        numbers = dict(row.rsplit(" ", 1) for row in text.decode().splitlines() if not row.startswith("#"))
        batches = float(numbers["nafdeploy_batch_size_sum"]) / float(numbers["nafdeploy_batch_size_count"])
        report["mean_batch"] = round(batches, 2)
    finally:
        server.terminate()
        code = server.wait(60)
    print(json.dumps({**report, "exit_code": code}, indent=1, sort_keys=True))


def one_round(port: int, pid: int, body: bytes, requests: int, concurrent: int) -> dict[str, object]:
    """All requests once: lost ones, times (ms) and the server's resident memory before and after (MiB)."""
    before, began = resident(pid), time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        answers = list(pool.map(lambda _: timed(port, body), range(requests)))
    seconds = time.perf_counter() - began
    took = np.array([ms for _, ms in answers])
    return {
        "lost": sum(status != 200 for status, _ in answers),
        "per_second": round(requests / seconds, 2),
        "p50_ms": round(float(np.percentile(took, 50)), 1),
        "p99_ms": round(float(np.percentile(took, 99)), 1),
        "resident_before_mib": before,
        "resident_after_mib": resident(pid),
    }


def timed(port: int, body: bytes) -> tuple[int, float]:
    """Status (0 where there was no answer) and milliseconds of one request on a connection of its own."""
    began, status = time.perf_counter(), 0
    with suppress(OSError, http.client.HTTPException):
        status, data = ask(port, "POST", "/restore", body)
        if status == 200:
            Image.open(io.BytesIO(data)).load()
    return status, 1e3 * (time.perf_counter() - began)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def picture(side: int) -> bytes:
    """A square of scikit-image's cat with noise, PNG."""
    clean = np.asarray(Image.fromarray(sample_photograph()).crop((100, 0, 400, 300)).resize((side, side)), np.float64)
    noisy = clean + np.random.default_rng(0).normal(scale=SIGMA, size=clean.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def resident(pid: int) -> int:
    """Resident memory of a process (MiB), Linux."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


if __name__ == "__main__":
    main()
