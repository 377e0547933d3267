"""Real servers on the loopback, as processes of their own."""

from __future__ import annotations

import dataclasses
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import command, photo, plain_environment

__all__ = ["command"]


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that listens."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self) -> tuple[int, str]:
        """Exit code and what was said after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def started(*options: str | Path) -> Iterator[Running]:
    """`nafdeploy serve` on a free port, ready."""
    line = [sys.executable, "-m", "nafnet_deploy", "serve", "--port", "0", "--engine", "onnxruntime", "--threads", "1"]
    process = subprocess.Popen([*line, *map(str, options)], stderr=subprocess.PIPE, text=True, env=plain_environment())
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", first)
        assert found, first + process.stderr.read()
        running = Running(process, int(found[1]))
        until(lambda: httpx.get(f"{running.url}/ready").status_code == 200)
        yield running
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that must become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="session")
def server(tiny: Path) -> Iterator[Running]:
    """The network of `tiny` with ordinary limits."""
    with started("-m", tiny) as running:
        yield running


@pytest.fixture(scope="session")
def strict(tiny: Path) -> Iterator[Running]:
    """The same with narrow ones: 1 MiB, 0.05 megapixels, 2 requests, 1 s of silence, 3 s for a body."""
    limits = "--max-body 1 --max-pixels 0.05 --concurrency 2 --idle-seconds 1 --body-seconds 3"
    with started("-m", tiny, *limits.split()) as running:
        yield running


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    """A small photograph."""
    return photo(tmp_path / "a.png").read_bytes()


def problem(response: httpx.Response, status: int, *words: str) -> None:
    """Asserts the contract of every error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    for word in words:
        assert word in f"{told['detail']} {told['mend']}"
    assert "/tmp" not in response.text


@pytest.fixture(scope="session")
def one_iteration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without reasoning."""
    from tests.bundles import write_bundle

    graph = tmp_path_factory.mktemp("one") / "one.onnx"
    write_bundle(graph)
    return graph
