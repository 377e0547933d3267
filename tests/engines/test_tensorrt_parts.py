"""The parts of a split bundle on a GPU in NumPy, by a library that computes their graphs; no GPU has run this.

What is proved: the state's two buffers swap, nothing but one number per picture leaves the device after a step, every
CUDA graph is recorded once, rows that are done drop out on the device, and nothing leaks. Not proved: real plans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nafnet_deploy.engines.anytime import AnytimeEngine
from nafnet_deploy.engines.base import restore_batch, size_limits
from nafnet_deploy.engines.registry import open_anytime
from nafnet_deploy.engines.stopping import StopRule
from nafnet_deploy.engines.tensorrt_parts import TensorRTParts
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.parity.inputs import natural_batch
from nafnet_deploy.released import find_bundle
from tests.cuda_double import NumpyCuda
from tests.tensorrt_parts_double import PartsLibrary, plans_of_graphs


@pytest.fixture(scope="session")
def bundle(tiny_split: Path) -> Bundle:
    return find_bundle(tiny_split)


def opened(library: PartsLibrary, bundle: Bundle) -> TensorRTParts:
    plans = plans_of_graphs(bundle)
    return TensorRTParts(library.as_module(), library.cuda, plans, "tensorrt-rtx 1.7 sm86 fp32", bundle.manifest)


def engine(library: PartsLibrary, bundle: Bundle, rule: StopRule) -> AnytimeEngine:
    return AnytimeEngine(opened(library, bundle), bundle.manifest, rule)


def test_pictures_are_those_of_onnxruntime_at_every_n_and_size(bundle: Bundle) -> None:
    with engine(PartsLibrary(NumpyCuda()), bundle, StopRule(1)) as ours:
        for shape in ((1, 3, 32, 40), (2, 3, 16, 24), (1, 3, 32, 40)):
            batch = natural_batch(shape, 1)
            for n in (1, 2, 5):
                ours.rule = StopRule(n)
                with open_anytime("onnxruntime", bundle, StopRule(n)) as theirs:
                    np.testing.assert_array_equal(restore_batch(ours, batch), restore_batch(theirs, batch))


def test_the_states_buffers_swap_and_each_direction_is_recorded_once(bundle: Bundle) -> None:
    cuda = NumpyCuda()
    library = PartsLibrary(cuda)
    stepper = opened(library, bundle)
    for seed in range(2):
        stepper.begin(natural_batch((1, 3, 32, 32), seed))
        for _ in range(6):
            stepper.step()
    stepper.close()
    steps = [at for name, at in library.runs if name == "step"]
    assert len(steps) == 3  # once plainly, then one recording per direction; ten replays queue nothing
    assert steps[0]["state"] == steps[1]["state_next"] == steps[2]["state"]
    assert steps[0]["state_next"] == steps[1]["state"] == steps[2]["state_next"]
    assert steps[0]["state"] != steps[0]["state_next"]
    assert cuda.calls.count("begin_capture") == 3  # head, and a step in each direction
    assert cuda.calls.count("launch") == 1 + 11


def test_a_step_copies_one_number_per_picture_and_nothing_else(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = NumpyCuda()
    stepper = opened(PartsLibrary(cuda), bundle)
    stepper.begin(natural_batch((3, 3, 32, 32), 0))
    stepper.step(), stepper.step(), stepper.step()
    sizes: list[int] = []
    download = cuda.download
    monkeypatch.setattr(cuda, "download", lambda to, at, stream: (sizes.append(to.nbytes), download(to, at, stream))[1])
    for _ in range(4):
        before = len(cuda.calls)
        delta = stepper.step()
        assert delta.shape == (3,)
        assert cuda.calls[before:] == ["launch", "download", "synchronize"]
    assert sizes == [3 * 4] * 4
    stepper.close()


def test_rows_that_are_done_drop_out_without_leaving_the_device(bundle: Bundle) -> None:
    batch = np.concatenate([np.zeros((1, 3, 32, 32), np.float32), natural_batch((2, 3, 32, 32), 5)])
    with open_anytime("onnxruntime", bundle, StopRule(8)) as theirs:
        curve = [g.delta for g in theirs.iterate({"input": batch})]
        between = float(np.sort(curve[3])[1] + np.sort(curve[3])[2]) / 2
        theirs.rule = StopRule(8, between)
        wanted = restore_batch(theirs, batch)
        counts = [o.iterations for o in theirs.outcomes]
    assert len(set(counts)) > 1
    cuda = NumpyCuda()
    with engine(PartsLibrary(cuda), bundle, StopRule(8, between)) as ours:
        for _ in range(2):  # the second time the parts were left sized for fewer rows
            ours.announce(1)
            before = len(cuda.calls)
            np.testing.assert_allclose(restore_batch(ours, batch), wanted, atol=1e-6)
            assert [o.iterations for o in ours.outcomes] == counts
            assert cuda.calls[before:].count("upload") == 2  # the picture, and zeros for the new size
        left = batch[1:2]  # as many rows as were left at the end: the head must follow too
        with open_anytime("onnxruntime", bundle, StopRule(8, between)) as theirs:
            np.testing.assert_allclose(restore_batch(ours, left), restore_batch(theirs, left), atol=1e-6)
    assert not cuda.held


def test_the_picture_before_the_last_step_is_still_there(bundle: Bundle) -> None:
    stepper = opened(PartsLibrary(NumpyCuda()), bundle)
    stepper.begin(natural_batch((2, 3, 32, 32), 3))
    stepper.step()
    first = stepper.picture([0, 1])
    stepper.step()
    np.testing.assert_array_equal(stepper.picture([0, 1], previous=True), first)
    np.testing.assert_allclose(stepper.picture([1], previous=True), first[1:], atol=1e-6)
    assert np.abs(stepper.picture([0, 1]) - first).max() > 1e-4
    stepper.close()


def test_a_size_outside_the_plans_is_refused_and_the_engine_goes_on(bundle: Bundle) -> None:
    with engine(PartsLibrary(NumpyCuda(), largest=(1, 32, 32)), bundle, StopRule(2)) as ours:
        limits = size_limits(ours)
        assert limits is not None
        assert limits.largest == (32, 32)
        with pytest.raises(EngineError, match="lies outside the shapes of the plan"):
            restore_batch(ours, natural_batch((1, 3, 64, 32), 0))
        assert restore_batch(ours, natural_batch((1, 3, 32, 32), 0)).shape == (1, 3, 32, 32)


def run_often(cuda: NumpyCuda, bundle: Bundle) -> None:
    with engine(PartsLibrary(cuda), bundle, StopRule(5)) as ours:
        for seed in range(3):
            restore_batch(ours, natural_batch((1, 3, 32, 32), seed))


@pytest.mark.parametrize(
    ("call", "works"),
    [
        ("create_stream", 0),
        *((call, n) for call in ("allocate", "pinned", "upload", "download", "synchronize") for n in (0, 2)),
        *((call, n) for call in ("copy", "launch") for n in (0, 2)),
    ],
)
def test_a_failure_of_the_gpu_anywhere_frees_everything(bundle: Bundle, call: str, works: int) -> None:
    cuda = NumpyCuda(**{call: works})
    with pytest.raises(EngineError, match=f"fails in {call}"):
        run_often(cuda, bundle)
    assert cuda.closed
    assert not cuda.held


def test_where_graphs_cannot_be_recorded_it_runs_plainly(bundle: Bundle) -> None:
    cuda = NumpyCuda(begin_capture=0)
    batch = natural_batch((1, 3, 32, 32), 2)
    with engine(PartsLibrary(cuda), bundle, StopRule(6)) as ours, open_anytime("auto", bundle, StopRule(6)) as theirs:
        np.testing.assert_array_equal(restore_batch(ours, batch), restore_batch(theirs, batch))
    assert cuda.calls.count("launch") == 0


def test_plans_of_other_parts_are_refused(bundle: Bundle) -> None:
    cuda, plans = NumpyCuda(), plans_of_graphs(bundle)
    plans["step"] = plans["tail"]
    with pytest.raises(EngineError, match="the plan of the step has other tensors"):
        TensorRTParts(PartsLibrary(cuda).as_module(), cuda, plans, "x", bundle.manifest)
    assert cuda.closed
    assert not cuda.held


def test_a_closed_or_fresh_one_says_so(bundle: Bundle) -> None:
    stepper = opened(PartsLibrary(NumpyCuda()), bundle)
    with pytest.raises(EngineError, match="no picture has been begun"):
        stepper.step()
    stepper.close()
    stepper.close()
    with pytest.raises(EngineError, match="is closed"):
        stepper.begin(natural_batch((1, 3, 32, 32), 0))
