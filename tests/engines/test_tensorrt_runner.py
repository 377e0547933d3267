"""The TensorRT runner against a recording double of the library and a GPU in NumPy.

This proves the calls, their order, the shapes and that nothing leaks. It does not prove execution: that is what
`test_tensorrt_gpu.py` does where there is a GPU.
"""

from __future__ import annotations

import gc
import logging
import types
from typing import Any

import numpy as np
import pytest

from nafnet_deploy.engines.base import DeviceTimes, device_times, restore_batch, size_limits
from nafnet_deploy.engines.tensorrt_runner import TensorRTEngine
from nafnet_deploy.errors import EngineError
from tests.cuda_double import NumpyCuda
from tests.tensorrt_double import PLAN, Library, double

WIDE = (((1, 3, 2, 2), (2, 3, 16, 16)), ((1, 3, 2, 2), (1, 3, 64, 32)))


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def opened(library: Library, graphs: bool = True) -> TensorRTEngine:
    axes: dict[str, tuple[int | str, ...]] = {"input": ("batch", 3, "height", "width")}
    return TensorRTEngine(library.as_module(), library.cuda, PLAN, "tensorrt-rtx 1.7 sm86 fp16", axes, graphs)


def names(library: Library) -> list[str]:
    return [call[0] for call in library.calls]


@pytest.fixture
def cuda() -> NumpyCuda:
    return NumpyCuda()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_run_gives_the_picture_plain_first_and_from_a_graph_later(cuda: NumpyCuda, dtype: type) -> None:
    with opened(Library(cuda, dtype=dtype)) as engine:
        for seed in range(4):
            batch = picture(2, 3, 8, 6, seed=seed).astype(dtype)
            result = restore_batch(engine, batch)  # type: ignore[arg-type]
            assert np.array_equal(result, double(batch))
            assert result.dtype == dtype
    assert cuda.calls.count("launch") == 3
    assert cuda.calls.count("begin_capture") == 1


def test_results_are_fresh_arrays(cuda: NumpyCuda) -> None:
    with opened(Library(cuda)) as engine:
        first = restore_batch(engine, picture(1, 3, 4, 4, seed=1))
        kept = first.copy()
        restore_batch(engine, picture(1, 3, 4, 4, seed=2))
    assert np.array_equal(first, kept)


def test_shapes_are_set_before_they_are_inferred_and_addresses_before_the_run(cuda: NumpyCuda) -> None:
    library = Library(cuda)
    with opened(library, graphs=False) as engine:
        restore_batch(engine, picture(1, 3, 4, 4))
        restore_batch(engine, picture(1, 3, 4, 4))
    assert names(library) == [
        "deserialize_cuda_engine",
        "create_execution_context",
        "set_input_shape",
        "infer_shapes",
        "set_tensor_address",
        "set_tensor_address",
        "execute_async_v3",
        "execute_async_v3",
    ]


def test_a_new_shape_is_recorded_anew(cuda: NumpyCuda) -> None:
    with opened(Library(cuda)) as engine:
        for side in (4, 4, 4, 8, 8, 8, 4, 4):
            batch = picture(1, 3, side, side, seed=side)
            assert np.array_equal(restore_batch(engine, batch), double(batch))
    assert cuda.calls.count("begin_capture") == 3
    assert cuda.calls.count("launch") == 2 + 2 + 1


def test_buffers_grow_and_never_shrink(cuda: NumpyCuda) -> None:
    with opened(Library(cuda)) as engine:
        for side in (8, 4, 8, 2):
            restore_batch(engine, picture(1, 3, side, side))
        assert cuda.calls.count("allocate") == 2
        restore_batch(engine, picture(2, 3, 8, 8))
        assert cuda.calls.count("allocate") == 4
        assert sum(isinstance(held, np.ndarray) for held in cuda.held.values()) == 4


@pytest.mark.parametrize("how", ["the library says no", "begin fails", "end fails", "nothing is queued"])
def test_without_graphs_it_runs_plainly_and_says_so_quietly(how: str, caplog: pytest.LogCaptureFixture) -> None:
    cuda = NumpyCuda(**{"begin fails": {"begin_capture": 0}, "end fails": {"end_capture": 0}}.get(how, {}))
    library = Library(cuda)
    library.capturable = False if how == "the library says no" else None
    with opened(library) as engine, caplog.at_level(logging.DEBUG):
        for seed in range(3):
            if how == "nothing is queued" and seed == 1:
                refuse_while_recording(library)
            batch = picture(1, 3, 4, 4, seed=seed)
            assert np.array_equal(restore_batch(engine, batch), double(batch))
        held = len(cuda.held)
        restore_batch(engine, picture(1, 3, 8, 8))
        assert len(cuda.held) == held
    assert cuda.calls.count("begin_capture") <= 1
    assert cuda.calls.count("launch") == 0
    assert "runs without CUDA graphs" in caplog.text
    assert not cuda.held


def refuse_while_recording(library: Library) -> None:
    record = library.record

    def refusing(name: str, *values: Any) -> bool:
        return record(name, *values) and not (name == "execute_async_v3" and values[0])

    library.record = refusing  # type: ignore[method-assign]


def test_the_tightest_profile_that_holds_the_shape_is_taken(cuda: NumpyCuda) -> None:
    library = Library(cuda, WIDE)
    with opened(library) as engine:
        for shape in ((1, 3, 8, 8), (1, 3, 64, 32), (1, 3, 32, 32), (2, 3, 16, 16)):
            batch = picture(*shape)
            assert np.array_equal(restore_batch(engine, batch), double(batch))
    switches = [call[1] for call in library.calls if call[0] == "set_optimization_profile_async"]
    assert switches == [1, 0]


def test_a_shape_outside_every_profile_names_ranges_and_a_tile_and_leaves_the_engine_usable(cuda: NumpyCuda) -> None:
    with opened(Library(cuda, WIDE)) as engine:
        with pytest.raises(EngineError) as caught:
            restore_batch(engine, picture(1, 3, 100, 40))
        assert "input 1x3x100x40" in caught.value.message
        assert "1x3x2x2 to 2x3x16x16" in caught.value.message
        assert "--tile 32" in caught.value.mend
        restore_batch(engine, picture(1, 3, 8, 8))
        with pytest.raises(EngineError) as caught:
            restore_batch(engine, picture(3, 3, 8, 8))
        assert "--tile" not in caught.value.mend
        assert "nafdeploy build" in caught.value.mend


def test_it_states_what_the_plan_takes(cuda: NumpyCuda) -> None:
    with opened(Library(cuda, WIDE)) as engine:
        assert engine.inputs[0].shape == ("batch", 3, "height", "width")
        assert engine.outputs[0].shape == ("free0", 3, "free2", "free3")
        assert engine.inputs[0].dtype == "float32"
        limits = size_limits(engine)
        assert limits is not None
        assert (limits.smallest, limits.largest) == ((2, 2), (64, 32))
        assert engine.device_ms is None
        restore_batch(engine, picture(1, 3, 8, 8))
        assert engine.device_ms == 1.5


def test_a_plan_of_one_shape_needs_no_profile(cuda: NumpyCuda) -> None:
    with opened(Library(cuda, shape=(1, 3, 4, 6))) as engine:
        assert engine.inputs[0].shape == (1, 3, 4, 6)
        restore_batch(engine, picture(1, 3, 4, 6))
        with pytest.raises(EngineError, match="which takes input 1x3x4x6"):
            restore_batch(engine, picture(1, 3, 4, 8))


@pytest.mark.parametrize(
    "feeds",
    [{}, {"photo": picture(1, 3, 4, 4)}, {"input": picture(1, 3, 4, 4).astype(np.float64)}],
    ids=["none", "unknown", "another type"],
)
def test_wrong_feeds_are_refused_before_anything_is_touched(cuda: NumpyCuda, feeds: dict[str, np.ndarray]) -> None:
    library = Library(cuda)
    with opened(library) as engine:
        before = list(cuda.calls)
        with pytest.raises(EngineError):
            engine.run(feeds)
        assert cuda.calls == before


def test_a_plan_that_the_library_refuses_tells_what_it_said_and_frees_the_gpu(cuda: NumpyCuda) -> None:
    library = Library(cuda, refuse={"deserialize_cuda_engine"})
    library.error = "Error Code 6: API Usage Error (the version tag does not match)"
    with pytest.raises(EngineError, match="version tag does not match"):
        opened(library)
    assert cuda.closed
    assert not cuda.held


@pytest.mark.parametrize(
    "call", ["create_execution_context", "set_input_shape", "infer_shapes", "set_tensor_address", "execute_async_v3"]
)
def test_every_refusal_of_the_library_is_noticed_and_frees_everything(cuda: NumpyCuda, call: str) -> None:
    library = Library(cuda, refuse={call})
    with pytest.raises(EngineError), opened(library) as engine:
        restore_batch(engine, picture(1, 3, 4, 4))
    gc.collect()
    assert cuda.closed
    assert not cuda.held
    assert not library.alive


def test_a_type_that_numpy_lacks_is_refused_at_once(cuda: NumpyCuda) -> None:
    with pytest.raises(EngineError, match="BF16"):
        opened(Library(cuda, dtype=object))
    assert cuda.closed
    assert not cuda.held


def test_a_refused_profile_is_noticed(cuda: NumpyCuda) -> None:
    with (
        opened(Library(cuda, WIDE, refuse={"set_optimization_profile_async"})) as engine,
        pytest.raises(EngineError, match="profile"),
    ):
        restore_batch(engine, picture(1, 3, 64, 32))
    assert not cuda.held


def run_often(library: Library) -> None:
    with opened(library) as engine:
        for _ in range(5):
            restore_batch(engine, picture(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("call", "works"),
    [
        ("create_stream", 0),
        ("create_event", 0),
        ("create_event", 1),
        *((call, works) for call in ("allocate", "pinned", "upload", "download", "synchronize") for works in (0, 1)),
        *(("record", works) for works in (0, 1, 5)),
        *(("launch", works) for works in (0, 1)),
    ],
)
def test_a_failure_of_the_gpu_anywhere_frees_everything(call: str, works: int) -> None:
    cuda = NumpyCuda(**{call: works})
    library = Library(cuda)
    with pytest.raises(EngineError, match=f"fails in {call}"):
        run_often(library)
    gc.collect()
    assert cuda.closed
    assert not cuda.held
    assert not library.alive


def test_rtx_compiles_for_a_shape_before_it_is_recorded(cuda: NumpyCuda) -> None:
    library = Library(cuda)
    module = library.as_module()
    module.DynamicShapesKernelSpecializationStrategy = types.SimpleNamespace(EAGER="eager")
    with TensorRTEngine(module, cuda, PLAN, "tensorrt-rtx 1.7 sm86 fp16") as engine:
        restore_batch(engine, picture(1, 3, 4, 4))
    assert ("create_execution_context", "eager") in library.calls


def test_after_a_failure_it_is_closed(cuda: NumpyCuda) -> None:
    cuda.fails["synchronize"] = 0
    engine = opened(Library(cuda))
    with pytest.raises(EngineError, match="the double"):
        restore_batch(engine, picture(1, 3, 4, 4))
    with pytest.raises(EngineError, match="is closed"):
        restore_batch(engine, picture(1, 3, 4, 4))


def test_closing_twice_is_harmless(cuda: NumpyCuda) -> None:
    library = Library(cuda)
    engine = opened(library)
    for _ in range(3):
        restore_batch(engine, picture(1, 3, 4, 4))
    engine.close()
    engine.close()
    gc.collect()
    assert cuda.closed
    assert not cuda.held
    assert not library.alive


def test_the_device_clock_times_copies_kernels_and_graph_apart(cuda: NumpyCuda) -> None:
    with opened(Library(cuda)) as engine:
        before = len(cuda.calls)
        times = device_times(engine, {"input": picture(1, 3, 8, 8)}, 3)
        assert times == DeviceTimes(1.5, 1.5, 1.5, 1.5)
        calls = cuda.calls[before:]
        assert calls.count("launch") >= 3
        assert calls[-4:] == ["record", "launch", "record", "synchronize"]
        batch = picture(1, 3, 8, 8, seed=5)
        assert np.array_equal(restore_batch(engine, batch), double(batch))
    assert not cuda.held


def test_without_a_cuda_graph_its_time_is_unknown(cuda: NumpyCuda) -> None:
    with opened(Library(cuda), graphs=False) as engine:
        assert device_times(engine, {"input": picture(1, 3, 8, 8)}, 2) == DeviceTimes(1.5, 1.5, None, 1.5)


def test_a_failure_while_the_device_is_timed_closes_the_engine(cuda: NumpyCuda) -> None:
    engine = opened(Library(cuda))
    restore_batch(engine, picture(1, 3, 8, 8))
    cuda.fails["record"] = 3
    with pytest.raises(EngineError, match="record"):
        device_times(engine, {"input": picture(1, 3, 8, 8)}, 50)
    with pytest.raises(EngineError, match="closed"):
        restore_batch(engine, picture(1, 3, 8, 8))
