"""Worker processes: real ones, with real engines, one of which is killed."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.errors import EngineError, MachineError, MissingDependency
from nafnet_deploy.manifest import open_bundle
from nafnet_deploy.runtime.batch import workers
from nafnet_deploy.runtime.batch.run import restore_folder
from nafnet_deploy.runtime.batch.storage import FolderPlan
from nafnet_deploy.runtime.opening import Opening
from tests.bundles import write_bundle
from tests.runtime.batch.conftest import names, save, snapshot

PICTURES = 12


@pytest.fixture
def opening(tmp_path: Path) -> Opening:
    write_bundle(tmp_path / "same.onnx")
    return Opening(open_bundle(tmp_path / "same.onnx"), engine="onnxruntime", threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(PICTURES):
        save(tmp_path / "in" / f"{n:02}.png", 10 * n)
    return tmp_path / "in"


def test_two_processes_restore_a_folder_and_a_bad_picture_is_named(
    opening: Opening, folder: Path, tmp_path: Path
) -> None:
    (folder / "05.png").write_text("text")
    before = snapshot(folder)
    result = restore_folder(FolderPlan(folder, tmp_path / "out", workers=2), opening)
    assert [failure.source.name for failure in result.failed] == ["05.png"]
    assert result.engine == "onnxruntime cpu"
    assert len(names(tmp_path / "out")) == PICTURES - 1
    for name in names(tmp_path / "out"):
        pixels = [np.asarray(Image.open(place / name)) for place in (folder, tmp_path / "out")]
        assert (pixels[0] == pixels[1]).all()
    assert snapshot(folder) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_what_auto_has_to_say_is_said_once(opening: Opening, folder: Path, tmp_path: Path, workers: int) -> None:
    half = dataclasses.replace(opening.bundle, manifest=dataclasses.replace(opening.bundle.manifest, precision="fp16"))
    opening, said = dataclasses.replace(opening, bundle=half, engine="auto"), list[str]()
    restore_folder(FolderPlan(folder, tmp_path / "out", workers=workers), opening, note=said.append)
    assert len(said) == 1
    assert "fp16 graph on a CPU" in said[0]


def test_a_killed_worker_is_replaced_and_every_picture_restored_once(
    opening: Opening, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[workers._Worker] = []
    start = workers._Pool._start

    def remembered(self: workers._Pool, careful: bool) -> None:
        start(self, careful)
        started.append(list(self._workers.values())[-1])

    monkeypatch.setattr(workers._Pool, "_start", remembered)

    def kill(path: Path, done: int, total: int) -> None:
        if done == 2:
            busy = max(started, key=lambda worker: len(worker.flying))
            os.kill(busy.process.pid or 0, signal.SIGKILL)

    result = restore_folder(FolderPlan(folder, tmp_path / "out", workers=2), opening, kill)
    assert (len(result.restored), result.failed) == (PICTURES, ())
    # nothing is left to be done again where the killed one had just sent home all it had
    assert [worker.careful for worker in started] in ([False, False, True], [False, False])


def test_a_picture_that_kills_every_process_is_named_and_the_others_are_restored(
    opening: Opening, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_work", deadly)  # found by name in the new process
    result = restore_folder(FolderPlan(folder, tmp_path / "out", workers=2), opening)
    (failure,) = result.failed
    assert failure.source.name == "07.png"
    assert "signal 9" in failure.error.message
    assert failure.error.exit_code == 3
    assert len(names(tmp_path / "out")) == PICTURES - 1


def deadly(connection: object, opening: Opening, quality: int | None, ahead: int) -> None:
    """A worker that the system kills when it meets picture 7."""
    read = workers.restore_jobs.__globals__["_read"]

    def killed(*arguments: object) -> object:
        if arguments[-1].source.name == "07.png":  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        return read(*arguments)

    workers.restore_jobs.__globals__["_read"] = killed
    REAL_WORK(connection, opening, quality, ahead)  # type: ignore[arg-type]


REAL_WORK = workers._work


def test_an_engine_that_does_not_open_ends_the_run_with_its_own_words(
    opening: Opening, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError) as here:
        open_engine("onnxruntime", opening.bundle)
    with pytest.raises(EngineError) as there:
        restore_folder(FolderPlan(folder, tmp_path / "out", workers=2), opening)
    assert str(there.value) == str(here.value)
    assert names(tmp_path / "out") == []


def test_a_process_that_cannot_start_ends_the_run(
    opening: Opening, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_work", stillborn)
    with pytest.raises(MachineError, match="code 9"):
        restore_folder(FolderPlan(folder, tmp_path / "out", workers=2), opening)


def stillborn(*_: object) -> None:
    os._exit(9)


def test_errors_travel_between_processes() -> None:
    for error in (MissingDependency("av", "video", "to read clips"), EngineError("wrong.", "Mend it.")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.mend, again.args) == (type(error), str(error), error.mend, error.args)
    assert pickle.loads(pickle.dumps(MissingDependency("av", "video", "x"))).extra == "video"
