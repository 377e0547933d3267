"""Folders behind URLs: fsspec's file system in memory stands for any that is not a disk."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import known_implementations
from PIL import Image

from nafnet_deploy.errors import EngineError, MachineError, UsageError
from nafnet_deploy.manifest import ModelManifest, open_bundle
from nafnet_deploy.runtime.batch.jobs import Done, Job, OnEngine
from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS
from nafnet_deploy.runtime.batch.run import FolderResult, restore_folder
from nafnet_deploy.runtime.batch.storage import FolderPlan
from nafnet_deploy.runtime.cluster.actor import Restoring, Shipment, carried
from nafnet_deploy.runtime.cluster.remote import Remote, RemoteJournal, open_place
from nafnet_deploy.runtime.cluster.run import most_on_one
from nafnet_deploy.runtime.opening import Opening
from nafnet_deploy.runtime.restorer import Restorer
from tests.bundles import write_bundle
from tests.runtime.batch.conftest import Around, save


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


@pytest.fixture
def inverting(numpy_engine: type, manifest: Callable[..., ModelManifest]) -> Around:
    return Around(Restorer(numpy_engine(lambda batch: 1 - batch), manifest()))


def put(system: fsspec.AbstractFileSystem, path: str, value: int = 50) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (value,) * 3).save(file, "PNG")
    system.pipe_file(path, file.getvalue())


def run(around: Around, source: str, out: str, recursive: bool = False, stop_after: int | None = None) -> FolderResult:
    """What the cluster does, with one actor in this process."""
    places = open_place(source), open_place(out)

    def executor(jobs: list[Job], heard: OnEngine) -> Generator[Done, None, None]:
        heard("numpy", [])
        for number, done in enumerate(carried(around.restorer, jobs, *places, None)):
            if number == stop_after:
                raise KeyboardInterrupt
            yield done

    plan = FolderPlan(places[0].path, places[1].path, recursive)
    return restore_folder(plan, around, None, executor, Remote(*places))  # type: ignore[arg-type]


def results(system: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    return sorted(path for path in system.find(folder) if JOURNAL not in path)


def test_a_folder_behind_a_url_is_restored_once(memory: fsspec.AbstractFileSystem, inverting: Around) -> None:
    for name, value in (("a.png", 10), ("x/b.png", 20), (".hidden.png", 3)):
        put(memory, f"/in/{name}", value)
    memory.pipe_file("/in/c.png", b"text")
    result = run(inverting, "memory://in", "memory://in/out", recursive=True)
    assert [failure.source.name for failure in result.failed] == ["c.png"]
    assert "/in/c.png" in result.failed[0].error.message
    assert results(memory, "/in/out") == ["/in/out/a.png", "/in/out/x/b.png"]
    with memory.open("/in/out/x/b.png") as file:
        assert Image.open(file).getpixel((0, 0)) == (235, 235, 235)
    again = run(inverting, "memory://in", "memory://in/out", recursive=True)
    assert (again.restored, again.before, len(again.failed)) == ((), 2, 1)
    assert not memory.exists(f"/in/out/{PARTS}")


def test_a_folder_of_originals_behind_a_url_is_never_written_into(
    memory: fsspec.AbstractFileSystem, inverting: Around
) -> None:
    for name in ("a.png", "2020/a.png"):
        put(memory, f"/in/{name}")
    before = memory.cat_file("/in/2020/a.png")
    with pytest.raises(UsageError, match="lies in the folder of the inputs"):
        run(inverting, "memory://in", "memory://in/2020")
    assert memory.cat_file("/in/2020/a.png") == before


def test_an_interrupted_run_goes_on(memory: fsspec.AbstractFileSystem, inverting: Around) -> None:
    for n in range(5):
        put(memory, f"/in/{n}.png", n)
    with pytest.raises(KeyboardInterrupt):
        run(inverting, "memory://in", "memory://out", stop_after=3)
    assert len(results(memory, "/out")) == 3
    result = run(inverting, "memory://in", "memory://out")
    assert (result.before, len(result.restored)) == (3, 2)


def test_a_result_whose_line_was_written_gets_its_name_from_the_next_run(
    memory: fsspec.AbstractFileSystem, inverting: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, "/in/a.png")
    with monkeypatch.context() as killed:
        killed.setattr(RemoteJournal, "publish", lambda *_: None)
        killed.setattr(RemoteJournal, "_clear", lambda _: None)
        run(inverting, "memory://in", "memory://out")
    assert not memory.exists("/out/a.png")
    assert run(inverting, "memory://in", "memory://out").before == 1
    assert memory.exists("/out/a.png")


def test_a_local_folder_goes_to_a_url_and_back(
    memory: fsspec.AbstractFileSystem, inverting: Around, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (9, 7), (50, 50, 50)).save(tmp_path / "in" / "a.png")
    run(inverting, str(tmp_path / "in"), "memory://out")
    run(inverting, "memory://out", str(tmp_path / "back"))
    assert Image.open(tmp_path / "back" / "a.png").getpixel((0, 0)) == (50, 50, 50)
    assert (tmp_path / "back" / JOURNAL).is_file()


def test_what_cannot_be_is_refused(memory: fsspec.AbstractFileSystem, inverting: Around) -> None:
    put(memory, "/in/a.png")
    memory.makedirs("/empty")
    for source, out in (("memory://in", "memory://in"), ("memory://nowhere", "memory://out"), ("memory://empty", "o")):
        with pytest.raises(UsageError):
            run(inverting, source, out)
    with pytest.raises(UsageError, match="unknown"):
        open_place("nosuch://a/b")


def test_a_scheme_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        known_implementations, "faraway", {"class": "no_such_package.FileSystem", "err": "Install faraway-fs"}
    )
    with pytest.raises(MachineError, match="faraway-fs") as refused:
        open_place("faraway://bucket/in")
    assert "pip install" in refused.value.mend


def test_the_actors_of_the_largest_machine_share_the_memory() -> None:
    nodes = [{"Alive": alive, "Resources": {"CPU": cpus}} for alive, cpus in ((True, 4.0), (True, 9.0), (False, 32.0))]
    assert most_on_one([*nodes, {"Alive": True, "Resources": {}}], 2) == 4


def test_an_actor_needs_no_file_of_the_sender(tmp_path: Path) -> None:
    (tmp_path / "sender").mkdir()
    write_bundle(tmp_path / "sender" / "same.onnx")
    opening = Opening(open_bundle(tmp_path / "sender" / "same.onnx"), engine="onnxruntime", threads=1)
    shipment = pickle.loads(pickle.dumps(Shipment.of(opening)))
    for path in (tmp_path / "sender").iterdir():
        path.unlink()
    job = Job(0, save(tmp_path / "a.png"), tmp_path / "b.png", tmp_path / "part.png", 1, 1)
    actor = Restoring(shipment, None, None, None)
    engine, notes, done = pickle.loads(actor({"job": [pickle.dumps(job)]})["result"][0])
    assert (engine, notes, done.error) == ("onnxruntime cpu", [], None)
    assert (tmp_path / "part.png").is_file()
    broken = Restoring(Shipment(opening, {**shipment.files, "same.onnx": b"x"}), None, None, None)
    assert isinstance(pickle.loads(broken({"job": [pickle.dumps(job)]})["result"][0]), EngineError)
