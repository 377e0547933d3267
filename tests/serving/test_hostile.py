"""Clients that send nonsense, too much, too slowly, or leave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.bundles import write_bundle
from tests.cli.conftest import photo
from tests.serving.conftest import Running, problem, started, until

FORM = {"content-type": "multipart/form-data; boundary=X"}
PART = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


@pytest.fixture(autouse=True)
def still_serving(strict: Running, png: bytes) -> Iterator[None]:
    """After whatever a test did, the server is free and restores a picture."""
    yield
    until(lambda: "nafdeploy_requests_in_work 0.0" in httpx.get(f"{strict.url}/metrics").text)
    assert httpx.post(f"{strict.url}/restore", content=png, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "multipart/form-data"}, b"anything", 400),
        (FORM, b"no boundary at all", 400),
        (FORM, b"--X\r\nno headers\r\n\r\nx\r\n--X--\r\n", 400),
        (FORM, b"--X\r\nContent-Disposition: form-data\r\n\r\nx\r\n--X--\r\n", 400),
        (FORM, b"--X--\r\n", 422),
        (FORM, b"", 422),
        (FORM, b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nno file\r\n--X--\r\n', 422),
        (FORM, PART + b"\r\n--X--\r\n", 422),
        (FORM, PART + b"\x89PNG cut off", 422),
        (FORM, (PART + b"1\r\n") * 2 + b"--X--\r\n", 400),
    ],
)
def test_a_malformed_form_is_explained(strict: Running, headers: dict[str, str], body: bytes, status: int) -> None:
    problem(httpx.post(f"{strict.url}/restore", content=body, headers=headers, timeout=60), status)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "status"), [(300, 413), (60_000, 422)])
def test_a_bomb_is_refused_by_its_header(strict: Running, side: int, status: int) -> None:
    problem(httpx.post(f"{strict.url}/restore", content=bomb(side, side), timeout=60), status, f"{side}x{side}")


def test_a_declared_size_above_the_limit_is_refused_before_the_body(strict: Running) -> None:
    with strict.connect() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483648\r\n\r\n")
        answer = client.recv(4096)
        assert b" 413 " in answer
        assert b"connection: close" in answer


def stream_too_much(server: Running, limit: int) -> tuple[bytes, int]:
    """Sends a chunked body without end until the server stops taking it: its answer, and how much was sent."""
    block = b"100000\r\n" + bytes(2**20) + b"\r\n"
    sent = 0
    with server.connect() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer: list[bytes] = []
        reader = threading.Thread(target=lambda: answer.append(client.recv(4096)))
        reader.start()
        try:
            while sent < limit and not answer:
                client.sendall(block)
                sent += 2**20
        except OSError:
            pass
        reader.join()
    return answer[0], sent


def test_a_body_without_end_is_cut_off(strict: Running) -> None:
    answer, sent = stream_too_much(strict, 2**31)
    assert b" 413 " in answer
    assert sent < 2**29


@pytest.mark.slow
def test_a_body_of_two_gigabytes_leaves_the_memory_flat(tiny: Path) -> None:
    def resident(running: Running) -> int:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024

    with started("-m", tiny, "--max-body", "4096", "--body-seconds", "600") as running:
        before = resident(running)
        answer = httpx.post(f"{running.url}/restore", content=(bytes(2**20) for _ in range(2048)), timeout=600)
        problem(answer, 422, "not a picture")
        assert resident(running) - before < 64 * 2**20
    with started("-m", tiny) as running:
        before = resident(running)
        answer, _ = stream_too_much(running, 2**31)
        assert b" 413 " in answer
        assert resident(running) - before < 64 * 2**20


@pytest.mark.parametrize("part", [b"", b"POST /restore HTT", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_come_end_the_connection(strict: Running, part: bytes) -> None:
    with strict.connect() as client:
        client.sendall(part)
        assert client.recv(4096) == b""


def test_a_body_that_stops_coming_is_given_up(strict: Running) -> None:
    with strict.connect() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(10))
        assert b" 408 " in client.recv(4096)


def test_a_body_that_trickles_is_given_up(strict: Running) -> None:
    with strict.connect() as client:
        client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        client.settimeout(0.2)
        for _ in range(100):
            client.sendall(b"x")
            try:
                assert b" 408 " in client.recv(4096)
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("the trickle was never given up")


@pytest.fixture(scope="module")
def impatient(one_iteration: Path) -> Iterator[Running]:
    """A server that gives back what comes, and drops who reads nothing for 1 s."""
    with started("-m", one_iteration, "--idle-seconds", "1") as running:
        yield running


@pytest.fixture
def large(tmp_path: Path) -> bytes:
    """A request whose answer is larger than what both systems keep for a client that does not read."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png", compress_level=1)
    body = (tmp_path / "noise.png").read_bytes()
    return b"POST /restore HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def read_all(client: socket.socket, pause: float, slowly: float) -> int:
    """How many bytes come, at first in small pieces for some seconds."""
    got, end = 0, time.monotonic() + slowly
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(8192):
            got += len(piece)
            if time.monotonic() < end:
                time.sleep(pause)
    return got


def test_a_client_that_reads_slowly_gets_its_whole_answer(impatient: Running, large: bytes) -> None:
    with impatient.connect() as client:
        client.sendall(large)
        assert read_all(client, 0.05, 4) > 12_000_000


def test_a_client_that_does_not_read_is_cut_off(impatient: Running, large: bytes) -> None:
    with impatient.connect() as client:
        client.sendall(large)
        until(lambda: 'stage="write"' in httpx.get(f"{impatient.url}/metrics").text)
        until(lambda: "nafdeploy_requests_in_work 0.0" in httpx.get(f"{impatient.url}/metrics").text, 20)
        assert read_all(client, 0, 0) < 12_000_000


def test_one_request_too_many_is_asked_to_come_back(strict: Running, png: bytes) -> None:
    slow = [strict.connect() for _ in range(2)]
    try:
        for client in slow:
            client.sendall(b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        until(lambda: "nafdeploy_requests_in_work 2.0" in httpx.get(f"{strict.url}/metrics").text)
        answer = httpx.post(f"{strict.url}/restore", content=png)
        problem(answer, 503, "2 requests")
        assert answer.headers["retry-after"] == "1"
        assert httpx.get(f"{strict.url}/health").status_code == 200
    finally:
        for client in slow:
            client.close()


def test_a_client_that_leaves_is_not_worked_for(strict: Running, png: bytes) -> None:
    head = f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(png)}\r\n\r\n".encode()
    for cut in (len(head) // 2, len(head) + len(png) // 2, len(head) + len(png)):
        with strict.connect() as client:
            client.sendall((head + png)[:cut])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave with a reset


def test_a_client_that_leaves_between_iterations_frees_its_place(strict: Running, tmp_path: Path) -> None:
    largest = photo(tmp_path / "b.png", (250, 200)).read_bytes()  # all the pixels that are decoded at a time
    for _ in range(2):
        with httpx.stream("POST", f"{strict.url}/iterations", content=largest, timeout=60) as answer:
            next(answer.iter_lines())
    until(lambda: httpx.post(f"{strict.url}/restore", content=largest, timeout=60).status_code == 200)


def test_a_client_that_leaves_within_an_iteration_is_not_worked_for(tmp_path: Path) -> None:
    graph = tmp_path / "tiles.onnx"
    write_bundle(graph, ("batch", 3, 32, 32))
    large = photo(tmp_path / "b.png", (320, 320)).read_bytes()  # 361 tiles, each of which waits for others
    with started("-m", graph, "--wait-ms", "300") as running:
        with httpx.stream("POST", f"{running.url}/iterations", content=large, timeout=60) as answer:
            next(answer.iter_lines())
        until(lambda: "nafdeploy_requests_in_work 0.0" in httpx.get(f"{running.url}/metrics").text, 20)


def test_garbage_instead_of_http_is_refused(strict: Running) -> None:
    with strict.connect() as client:
        client.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert b" 400 " in client.recv(4096)


def test_what_clients_send_does_not_fill_the_log(tiny: Path) -> None:
    upgrade = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with started("-m", tiny) as running:
        for line, status in ((upgrade, b" 200 "), (b"\x16\x03\x01 this is no HTTP\r\n\r\n", b" 400 ")):
            with running.connect() as client:
                client.sendall(line)
                assert status in client.recv(4096)
        answer = httpx.post(f"{running.url}/restore", content=b"no boundary at all", headers=FORM, timeout=60)
        assert answer.status_code == 400
        assert httpx.post(f"{running.url}/restore", content=PART, headers={"content-type": "multipart/form-data"})
        assert running.stop() == (0, "stopped\n")
