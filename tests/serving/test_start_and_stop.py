"""Servers that are told to stop or killed, and those that cannot start."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.bundles import write_slow_bundle
from tests.cli.conftest import Command, photo
from tests.serving.conftest import Running, problem, started, until


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the servers of a test put what they do not keep: theirs alone, while other tests run beside it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_told_to_stop_it_finishes_what_is_in_work(tiny: Path, png: bytes, scratch: Path) -> None:
    with started("-m", tiny, "--wait-ms", "1500") as running:  # a picture waits for others, so it is surely in work
        answers: list[httpx.Response] = []
        client = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{running.url}/restore", content=png, timeout=60))
        )
        client.start()
        until(lambda: "nafdeploy_requests_in_work 1.0" in httpx.get(f"{running.url}/metrics").text)
        code, said = running.stop()
        client.join()
    assert answers[0].status_code == 200
    assert (code, said) == (0, "stopped\n")
    assert list(scratch.glob("nafdeploy-*")) == []


def test_told_to_stop_it_does_not_wait_for_ever(tiny: Path) -> None:
    with started("-m", tiny, "--stop-seconds", "1", "--idle-seconds", "300", "--body-seconds", "300") as running:
        with running.connect() as client:
            client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            until(lambda: "nafdeploy_requests_in_work 1.0" in httpx.get(f"{running.url}/metrics").text)
            began = time.monotonic()
            code, _ = running.stop()
            assert time.monotonic() - began < 60
        assert code == 0


@pytest.mark.parametrize("path", ["/restore", "/iterations"])
def test_told_to_stop_it_refuses_what_takes_too_long_and_leaves(tmp_path: Path, path: str, scratch: Path) -> None:
    graph = tmp_path / "slow.onnx"
    write_slow_bundle(graph)
    large = photo(tmp_path / "b.png", (1000, 700)).read_bytes()
    with started("-m", graph, "--stop-seconds", "1") as running, httpx.Client(timeout=60) as client:
        request = client.build_request("POST", running.url + path, content=large)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(client.send, request, stream=path == "/iterations")
            until(lambda: "nafdeploy_batch_size_count 1.0" in httpx.get(f"{running.url}/metrics").text)  # the warm-up
            until(lambda: 'stage="wait"' in httpx.get(f"{running.url}/metrics").text)
            began = time.monotonic()
            code, said = running.stop()
            assert time.monotonic() - began < 8
            if path == "/restore":
                problem(answer.result(), 503, "the server stops")
    assert code == 0
    assert said.endswith("stopped\n")
    assert "Traceback" not in said
    assert list(scratch.glob("nafdeploy-*")) == []


def test_a_killed_server_drops_its_clients_at_once(tiny: Path, png: bytes) -> None:
    with started("-m", tiny, "--wait-ms", "3000") as running, running.connect() as client:
        client.sendall(f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(png)}\r\n\r\n".encode() + png)
        until(lambda: "nafdeploy_requests_in_work 1.0" in httpx.get(f"{running.url}/metrics").text)
        running.process.kill()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(4096) == b""


def test_a_port_in_use_is_told_in_one_line(strict: Running, command: Command) -> None:
    done = command("serve", "--port", str(strict.port))
    done.refused(3, f"{strict.port} of 127.0.0.1 is in use", "--port 0")


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--port", "70000"), 2, "70000"),
        (("--host", "no such host"), 2, "no such host"),
        (("--host", "192.0.2.1", "--port", "0"), 3, "address of this machine"),
        (("--port", "0", "--concurrency", "0"), 2, "concurrency"),
        (("--port", "0", "--max-pixels", "1000"), 2, "max-pixels"),
        (("--port", "0", "-m", "denoise-lite"), 2, "denoise-light"),
        (("--port", "0", "--iters", "99"), 6, "99"),
    ],
)
def test_a_server_that_cannot_start_says_why(command: Command, options: tuple[str, ...], code: int, word: str) -> None:
    command("serve", *options).refused(code, word)


def test_a_machine_without_the_extra_is_told_its_name() -> None:
    from tests.test_boundaries import BLOCKED

    done = subprocess.run([sys.executable, "-c", BLOCKED, '["fastapi"]', "serve"], capture_output=True, text=True)
    assert done.returncode == 3
    assert "nafnet-deploy[serve]" in done.stderr
