"""Pictures over HTTP: what comes back, and what an operator sees."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from nafnet_deploy import Restorer
from tests.cli.conftest import photo
from tests.pictures import png16
from tests.serving.conftest import Running, problem, until


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", ["raw", "form", "curl"])
def test_a_picture_comes_back_as_the_library_restores_it(server: Running, tiny: Path, png: bytes, kind: str) -> None:
    with server.client() as client:
        if kind == "form":
            answer = client.post("/restore?iters=2", files={"file": ("a.png", png)})
        else:
            media = "image/png" if kind == "raw" else "application/x-www-form-urlencoded"
            answer = client.post("/restore?iters=2", content=png, headers={"content-type": media})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-iterations"] == "2"
    with Restorer.from_bundle(tiny, iterations=2, engine="onnxruntime", threads=1) as restorer:
        assert np.array_equal(pixels(answer.content), restorer(pixels(png)))


@pytest.mark.parametrize(
    ("suffix", "accept", "media"),
    [
        ("jpg", "*/*", "image/jpeg"),
        ("webp", "image/*", "image/webp"),
        ("tif", "", "image/tiff"),
        ("bmp", "*/*", "image/png"),
        ("png", "image/webp;q=0.2, image/jpeg;q=0.9", "image/jpeg"),
        ("jpg", "text/html, image/png", "image/png"),
        ("png", "image/png;q=0, */*", "image/jpeg"),
    ],
)
def test_the_answer_has_the_format_that_came_or_was_asked_for(
    server: Running, tmp_path: Path, suffix: str, accept: str, media: str
) -> None:
    body = photo(tmp_path / f"a.{suffix}").read_bytes()
    answer = httpx.post(f"{server.url}/restore", content=body, headers={"accept": accept}, timeout=60)
    assert answer.headers["content-type"] == media
    with Image.open(io.BytesIO(answer.content)) as image:
        assert Image.MIME[image.format or ""] == media


def test_sixteen_bits_and_transparency_are_kept(server: Running) -> None:
    deep = png16(np.random.default_rng(0).integers(0, 65536, (6, 7, 4), dtype=np.uint16))
    answer = httpx.post(f"{server.url}/restore", content=deep, timeout=60)
    assert answer.status_code == 200
    assert answer.content[24:26] == bytes([16, 6])  # bit depth, RGB and alpha
    problem(
        httpx.post(f"{server.url}/restore", content=deep, headers={"accept": "image/jpeg"}, timeout=60),
        422,
        "cannot hold",
    )


def test_an_accepted_format_that_cannot_hold_the_picture_gives_way_to_one_that_can(server: Running) -> None:
    deep = png16(np.random.default_rng(0).integers(0, 65536, (6, 7, 4), dtype=np.uint16))
    headers = {"accept": "image/webp, image/jpeg;q=0.9, image/png;q=0.5"}
    answer = httpx.post(f"{server.url}/restore", content=deep, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


def test_every_iteration_comes_as_a_line(server: Running, png: bytes) -> None:
    answer = httpx.post(f"{server.url}/iterations", content=png, timeout=60)
    given, *stages = map(json.loads, answer.text.splitlines())
    assert (given["size"], given["crop"], given["choices"]) == ([48, 40], [0, 0, 48, 40], [1, 2, 3])
    assert [stage["iterations"] for stage in stages] == [1, 2, 3]
    pictures = [pixels(base64.b64decode(stage["picture"].split(",")[1])) for stage in stages]
    assert np.array_equal(
        pictures[1], pixels(httpx.post(f"{server.url}/restore?iters=2", content=png, timeout=60).content)
    )
    for stage in stages:
        assert pixels(base64.b64decode(stage["change"].split(",")[1])).shape == (40, 48, 3)
        assert stage["ms"] > 0
        assert stage["rms"] > 0


def test_of_a_large_picture_the_middle_is_shown(server: Running, tmp_path: Path) -> None:
    large = photo(tmp_path / "large.png", (1600, 800)).read_bytes()
    with httpx.stream("POST", f"{server.url}/iterations", content=large, timeout=60) as answer:
        given = json.loads(next(answer.iter_lines()))
    x, y, width, height = given["crop"]
    assert width * height <= 786_432
    assert abs(x - (1600 - width - x)) <= 1
    assert abs(y - (800 - height - y)) <= 1


def test_many_clients_at_once_lose_nothing_and_share_batches(server: Running, png: bytes) -> None:
    with server.client() as client:
        alone = client.post("/restore", content=png).content
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: client.post("/restore", content=png), range(64)))
        assert {answer.status_code for answer in answers} == {200}
        apart = [np.abs(pixels(a.content).astype(int) - pixels(alone)).max() for a in answers]
        assert max(apart) <= 1  # a batch may round otherwise than a single picture
        until(lambda: "nafdeploy_requests_in_work 0.0" in client.get("/metrics").text)
        numbers = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(numbers["nafdeploy_batch_size_sum"]) > float(numbers["nafdeploy_batch_size_count"])
    assert float(numbers['nafdeploy_requests_total{path="/restore",status="200"}']) >= 65


def test_what_an_operator_asks_for_is_there(server: Running) -> None:
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        facts = client.get("/model").json()
        assert (facts["name"], facts["iterations"], facts["engine"]) == ("tiny", [1, 2, 3], "onnxruntime cpu")
        described = client.get("/openapi.json").json()["paths"]
        assert {"/restore", "/iterations", "/health", "/ready", "/metrics", "/model"} == set(described)
        assert "multipart/form-data" in described["/restore"]["post"]["requestBody"]["content"]
        assert "image/png" in described["/restore"]["post"]["responses"]["200"]["content"]
        problem(client.get("/nothing"), 404)
        problem(client.get("/restore"), 405)
        probe = client.head("/health")
        assert (probe.status_code, probe.content) == (200, b"")


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ("?iters=4", None, ("4 iterations", "1 to 3")),
        ("?iters=0", None, ("0 iterations",)),
        ("?iters=many", None, ("iters", "integer")),
        ("?iters=1&iters=2", None, ("iters", "more than once")),
        ("?iters=1&n=2", None, ("'n' is unknown",)),
        ("", b"", ("empty",)),
        ("", b"%PDF-1.7 something else entirely", ("not a picture",)),
        ("", b"PK\x03\x04 a zip named .png", ("ZIP archive",)),
    ],
)
@pytest.mark.parametrize("path", ["/restore", "/iterations"])
def test_what_cannot_be_restored_is_explained(
    server: Running, png: bytes, path: str, query: str, body: bytes | None, words: tuple[str, ...]
) -> None:
    if query and path == "/iterations":
        query, body, words = "", png[:200], ("damaged",)
    problem(httpx.post(server.url + path + query, content=png if body is None else body, timeout=60), 422, *words)


def test_a_form_field_that_would_be_passed_over_is_refused(server: Running, png: bytes) -> None:
    answer = httpx.post(f"{server.url}/restore", files={"file": png}, data={"iters": "1"}, timeout=60)
    problem(answer, 422, "form field 'iters'")


def test_a_format_that_is_not_written_is_not_pretended(server: Running, png: bytes) -> None:
    answer = httpx.post(f"{server.url}/restore", content=png, headers={"accept": "text/html"}, timeout=60)
    problem(answer, 406, "text/html", "image/png")
