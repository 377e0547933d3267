"""Threads that share an engine, and the gate that bounds what is decoded."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import open_bundle
from nafnet_deploy.presets import preset
from nafnet_deploy.serving.batching import BatchingEngine
from nafnet_deploy.serving.formats import MEDIA_TYPES, accepted
from nafnet_deploy.serving.gate import PixelGate
from nafnet_deploy.serving.metrics import Metrics
from nafnet_deploy.serving.problems import Refused
from nafnet_deploy.serving.settings import Settings
from nafnet_deploy.serving.work import Gone, Workshop
from tests.cli.conftest import photo
from tests.toy import ToyEngine


class Counting(ToyEngine):
    """Doubles its input, remembers its batches, and fails on what holds a 13."""

    def __init__(self) -> None:
        super().__init__(lambda x, n: x * 2, 1)
        self.seen: list[tuple[int, ...]] = []

    def run(self, feeds: Any) -> Any:
        self.seen.append(feeds["image"].shape)
        if (feeds["image"] == 13).any():
            raise EngineError("thirteen")
        return super().run(feeds)


def shared(engine: ToyEngine, most: int = 8, wait: float = 0.5, limit: Callable[[Any], int] = lambda shape: 99) -> Any:
    return BatchingEngine(engine, most, wait, limit, threading.Lock(), lambda size: None)


def image(value: float, side: int = 4) -> dict[str, np.ndarray]:
    return {"image": np.full((1, 3, side, side), value, np.float32)}


def test_equal_shapes_share_a_batch_and_everyone_gets_their_own() -> None:
    counting = Counting()
    with shared(counting) as engine, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda v: engine.run(image(v))["picture"], range(8)))
    assert [float(result[0, 0, 0, 0]) for result in results] == [2.0 * v for v in range(8)]
    assert counting.seen == [(8, 3, 4, 4)]
    assert counting.closed


def test_other_shapes_stay_apart() -> None:
    counting = Counting()
    with shared(counting, most=2) as engine, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda side: engine.run(image(1, side))["picture"].shape, (4, 8, 4, 8)))
    assert results == [(1, 3, 4, 4), (1, 3, 8, 8), (1, 3, 4, 4), (1, 3, 8, 8)]
    assert sorted(counting.seen) == [(2, 3, 4, 4), (2, 3, 8, 8)]


def test_memory_bounds_a_batch() -> None:
    counting = Counting()
    with shared(counting, wait=0.05, limit=lambda shape: 2) as engine, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda v: engine.run(image(v)), range(6)))
    assert max(shape[0] for shape in counting.seen) == 2


def test_one_bad_input_does_not_spoil_the_others() -> None:
    with shared(Counting(), most=3) as engine, ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(engine.run, image(value)) for value in (1, 13, 3)]
        assert float(futures[0].result()["picture"].max()) == 2
        with pytest.raises(EngineError, match="thirteen"):
            futures[1].result()
        assert float(futures[2].result()["picture"].max()) == 6


def test_a_wrong_input_and_a_closed_engine_are_refused() -> None:
    engine = shared(Counting())
    with pytest.raises(EngineError, match="image"):
        engine.run({"image": np.zeros((1, 3, 4), np.float32)})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(image(1))


@given(sizes=st.lists(st.integers(1, 150), min_size=1, max_size=12))
def test_the_gate_keeps_its_budget_and_lets_everyone_in(sizes: list[int]) -> None:
    gate, inside, worst = PixelGate(100), [0], [0]
    lock = threading.Lock()

    def visit(pixels: int) -> None:
        with gate.let_in(pixels):
            with lock:
                inside[0] += pixels
                worst[0] = max(worst[0], inside[0])
            with lock:
                inside[0] -= pixels

    with ThreadPoolExecutor(len(sizes)) as pool:
        list(pool.map(visit, sizes))
    assert worst[0] <= max(100, *sizes)


def test_the_gate_keeps_the_order_of_arrival() -> None:
    gate, order = PixelGate(100), []
    threads = []

    def visit(name: str, pixels: int) -> None:
        with gate.let_in(pixels):
            order.append(name)

    with gate.let_in(60):
        for name, pixels in (("large", 90), ("small", 10)):
            threads.append(threading.Thread(target=visit, args=(name, pixels)))
            threads[-1].start()
            while len(gate._line) < len(threads):
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


@given(accept=st.text(alphabet="abimg/e*pnjwt;q=.019, -", max_size=40), own=st.sampled_from(sorted(MEDIA_TYPES)))
def test_any_accept_header_gives_a_format_or_a_refusal(accept: str, own: str) -> None:
    with contextlib.suppress(Refused):
        given_back = accepted(accept, own)
        assert set(given_back) <= set(MEDIA_TYPES)
        assert len(given_back) == len(set(given_back)) > 0


PAGE = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
"""What Firefox asks for the pictures of a page."""


@pytest.mark.parametrize(
    ("accept", "own", "order"),
    [
        (PAGE, ".png", [".png", ".webp", ".jpg", ".tif"]),
        ("image/webp, image/jpeg", ".jpg", [".jpg", ".webp"]),
        ("image/jpeg, image/png;q=0.5", ".png", [".jpg", ".png"]),
        ("image/*;q=0, */*", ".jpg", None),
        ("image/*;q=0, */*, image/jpg", ".png", [".jpg"]),
        ("*/*, image/tiff;q=0.1", ".tif", [".jpg", ".png", ".webp", ".tif"]),
        (" , ", ".tif", [".tif", ".jpg", ".png", ".webp"]),
    ],
)
def test_the_most_specific_range_weighs_a_format_and_its_own_comes_first_among_equals(
    accept: str, own: str, order: list[str] | None
) -> None:
    if order is None:
        with pytest.raises(Refused, match="not written here"):
            accepted(accept, own)
    else:
        assert accepted(accept, own) == order


def test_split_bundles_are_served_too_and_a_client_that_leaves_frees_its_pixels(
    tiny: Path, tiny_split: Path, tmp_path: Path
) -> None:
    source, never = photo(tmp_path / "a.png"), threading.Event()
    results = []
    for path in (tiny, tiny_split):
        workshop = Workshop(open_bundle(path), Settings(engine="onnxruntime", threads=1), Metrics())
        lines = list(workshop.stages(source, never))
        assert [line.get("iterations") for line in lines] == [None, *workshop.choices]
        results.append([line.get("picture") for line in lines][: 1 + 3])
        left = workshop.stages(source, never)
        next(left)
        assert workshop._gate._inside == 48 * 40
        left.close()
        assert workshop._gate._inside == 0
        gone = threading.Event()
        gone.set()
        with pytest.raises(Gone):
            workshop.restore(source, [tmp_path / "b.png"], 1, gone)
        workshop.close()
    assert results[0] == results[1]
    assert not (tmp_path / "b.png").exists()


def test_stereo_networks_are_refused(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    stereo = preset("nafssr-t-x2").config
    pair = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, model=stereo))
    with pytest.raises(ConfigError, match="stereo"):
        Workshop(pair, Settings(), Metrics())


@pytest.mark.parametrize(
    "wrong", [{"wait_ms": math.inf}, {"wait_ms": 1e9}, {"idle_seconds": math.nan}, {"max_body": 0}]
)
def test_limits_that_no_clock_can_keep_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        Settings(**wrong)
