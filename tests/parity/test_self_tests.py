"""Each self-test passes on an honest engine and fails on the one fault that it is there for."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle, ModelManifest
from nafnet_deploy.parity.choice import Input
from nafnet_deploy.parity.self_tests import EQUAL, FINITE, PERMUTED, REPEAT, batch_tests
from nafnet_deploy.parity.tiles import SEAMS, STATIC, TILED, static_test, tile_tests
from nafnet_deploy.parity.tolerance import LIMITS
from nafnet_deploy.parity.tolerance import TILED as LIMITS_TILED
from tests import toy
from tests.bundles import manifest_of, write_bundle

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    write_bundle(tmp_path / "toy.onnx")
    return manifest_of(tmp_path / "toy.onnx")


def engine_of(answer: Answer) -> toy.ToyEngine:
    return toy.ToyEngine(lambda x, n: np.asarray(answer(x), np.float32), 1)


def failed_batch(manifest: ModelManifest, answer: Answer, *pictures: Input) -> list[str]:
    tests = batch_tests(engine_of(answer), manifest, LIMITS["fp32"], pictures)
    assert [test.name for test in tests] == [REPEAT, EQUAL, PERMUTED, FINITE]
    assert "not checked" not in {test.verdict for test in tests}
    return [test.name for test in tests if test.verdict == "fail"]


def last_row_off(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = toy.network(x, 2)
    if len(y) > 1:
        y[-1] += 0.01
    return y


def test_an_honest_engine_passes(manifest: ModelManifest) -> None:
    assert failed_batch(manifest, lambda x: toy.network(x, 2)) == []


def test_a_row_that_comes_out_otherwise_by_its_place(manifest: ModelManifest) -> None:
    assert failed_batch(manifest, last_row_off) == [EQUAL, PERMUTED]


def test_a_first_row_that_leaks_into_the_others(manifest: ModelManifest) -> None:
    assert failed_batch(manifest, lambda x: toy.network(0.9 * x + 0.1 * x[:1], 2)) == [PERMUTED]


def test_an_answer_that_depends_on_the_run(manifest: ModelManifest) -> None:
    runs = itertools.count()
    assert REPEAT in failed_batch(manifest, lambda x: toy.network(x, 2) + 1e-3 * next(runs))


def test_a_value_that_is_not_finite_on_black_alone(manifest: ModelManifest) -> None:
    with np.errstate(invalid="ignore", divide="ignore"):
        assert failed_batch(manifest, lambda x: x * (x.max() / x.max())) == [FINITE]


def test_a_value_that_is_not_finite_on_a_given_picture(manifest: ModelManifest) -> None:
    dark = Input("night.png", np.full((1, 3, 16, 16), 0.001, np.float32))
    with np.errstate(invalid="ignore"):
        assert failed_batch(manifest, lambda x: x + (np.nan if x.mean() == np.float32(0.001) else 0), dark) == [FINITE]


def test_answers_that_are_not_finite_fail_every_test(manifest: ModelManifest) -> None:
    assert failed_batch(manifest, lambda x: x * np.nan) == [REPEAT, EQUAL, PERMUTED, FINITE]


def test_an_engine_that_gives_up_has_failed(manifest: ModelManifest) -> None:
    def refuse(x: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(x) > 1:
            raise EngineError("out of memory.")
        return x

    assert failed_batch(manifest, refuse) == [REPEAT, EQUAL, PERMUTED, FINITE]


def test_an_engine_for_one_picture_says_what_it_was_not_asked(manifest: ModelManifest) -> None:
    single = dataclasses.replace(manifest.inputs[0], shape=(1, 3, 64, 64))
    tests = batch_tests(engine_of(lambda x: x), dataclasses.replace(manifest, inputs=(single,)), LIMITS["fp32"])
    assert {test.name: test.verdict for test in tests} == {
        REPEAT: "pass", EQUAL: "not checked", PERMUTED: "not checked", FINITE: "pass",
    }  # fmt: skip


def tiled(manifest: ModelManifest, answer: Answer) -> dict[str, str]:
    tests = tile_tests(engine_of(answer), manifest, LIMITS_TILED, 32)
    assert [test.name for test in tests] == [TILED, SEAMS]
    return {test.name: test.verdict for test in tests}


def test_tiles_of_a_network_that_sees_each_pixel_alone_are_the_whole(manifest: ModelManifest) -> None:
    assert tiled(manifest, lambda x: toy.network(x, 2)) == {TILED: "pass", SEAMS: "pass"}


def test_a_network_that_sees_the_whole_picture_fails_in_tiles(manifest: ModelManifest) -> None:
    def stretch(x: NDArray[np.float32]) -> NDArray[np.float32]:
        low, high = x.min(axis=(2, 3), keepdims=True), x.max(axis=(2, 3), keepdims=True)
        return np.asarray((x - low) / (high - low) - 0.5 * x.mean(axis=(2, 3), keepdims=True))

    assert tiled(manifest, stretch)[TILED] == "fail"


def test_a_step_along_the_borders_is_a_seam_though_the_average_is_good(manifest: ModelManifest) -> None:
    def framed(x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = x.copy()
        if max(x.shape[2:]) <= 32:  # a tile
            y[..., 0] += 0.03
        return y

    no_overlap = dataclasses.replace(manifest, tile_overlap=0)
    assert tiled(no_overlap, framed) == {TILED: "pass", SEAMS: "fail"}


def test_a_fixed_shape_that_computes_something_else(
    full: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verdict(answer: Answer) -> str:
        def open_with(bundle: Bundle) -> Engine:
            assert bundle.manifest.inputs[0].shape == (1, 3, 32, 32)
            engine = open_engine("onnxruntime", bundle)
            sound = engine.run
            monkeypatch.setattr(engine, "run", lambda feeds: {k: answer(v) for k, v in sound(feeds).items()})
            return engine

        with open_engine("onnxruntime", full) as engine:
            test = static_test(full, engine, open_with, LIMITS["fp32"], 32, tmp_path)
        assert test.name == STATIC
        return test.verdict

    assert verdict(lambda y: y) == "pass"
    assert verdict(lambda y: y + np.float32(1e-4)) == "fail"
    assert verdict(lambda y: y * np.float32(np.nan)) == "fail"
