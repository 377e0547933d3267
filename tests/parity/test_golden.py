"""Golden files: what is written comes back, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nafnet_deploy.errors import CheckpointError, UsageError
from nafnet_deploy.parity.golden import Case, read_golden, write_golden
from nafnet_deploy.parity.inputs import natural_batch
from tests import toy


@pytest.fixture
def cases() -> list[Case]:
    batches = [natural_batch((b, 3, 16, 24), seed=b) for b in (1, 3)]
    return [Case(batch, tuple(toy.pictures(batch, 3))) for batch in batches]


@pytest.fixture
def golden(tmp_path: Path, cases: list[Case]) -> Path:
    path = tmp_path / "model.golden.npz"
    write_golden(path, cases)
    return path


def test_round_trip(golden: Path, cases: list[Case]) -> None:
    read = read_golden(golden)
    assert len(read) == 2
    for got, want in zip(read, cases, strict=True):
        assert np.array_equal(got.batch, want.batch)
        assert all(np.array_equal(a, b) for a, b in zip(got.pictures, want.pictures, strict=True))
    assert [p.name for p in golden.parent.iterdir()] == [golden.name]


def test_equal_cases_give_equal_bytes(golden: Path, cases: list[Case], tmp_path: Path) -> None:
    write_golden(tmp_path / "again.npz", cases)
    assert (tmp_path / "again.npz").read_bytes() == golden.read_bytes()


def test_a_place_that_cannot_be_written(cases: list[Case], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_golden(tmp_path / "nowhere" / "g.npz", cases)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_golden(tmp_path / "g.npz")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(golden: Path, keep: float) -> None:
    data = golden.read_bytes()
    golden.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="not a readable golden file"):
        read_golden(golden)


def test_a_flipped_byte(golden: Path) -> None:
    data = bytearray(golden.read_bytes())
    for place in range(len(data) // 4, len(data) // 4 + 40):
        data[place] ^= 0xFF
    golden.write_bytes(data)
    with pytest.raises(CheckpointError, match="not a readable golden file"):
        read_golden(golden)


@pytest.mark.parametrize("content", [b"just text", b"PK\x03\x04 not a zip"])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a readable golden file"):
        read_golden(path)


def test_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "g.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="one array"):
        read_golden(tmp_path / "g.npy")


class Bomb:
    """Pickled code that would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path, target = tmp_path / "g.npz", tmp_path / "exploded"
    np.savez(path, schema=np.array(1), input_0=np.array([Bomb(target)], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError):
        read_golden(path)
    assert not target.exists()


BATCH = np.zeros((1, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input_0": BATCH, "picture_0_iteration_1": BATCH},
        {"schema": np.array(2), "input_0": BATCH, "picture_0_iteration_1": BATCH},
        {"schema": np.array(1)},
        {"schema": np.array([1, 1]), "input_0": BATCH, "picture_0_iteration_1": BATCH},
        {"schema": np.array(1), "input_0": BATCH},
        {"schema": np.array(1), "input_0": BATCH, "picture_0_iteration_2": BATCH},
        {"schema": np.array(1), "input_0": BATCH.astype(np.float64), "picture_0_iteration_1": BATCH},
        {"schema": np.array(1), "input_0": BATCH, "picture_0_iteration_1": BATCH[0]},
        {"schema": np.array(1), "input_0": BATCH, "picture_0_iteration_1": BATCH, "stowaway": BATCH},
    ],
    ids=["no schema", "newer", "empty", "odd schema", "no picture", "gap", "float64", "three axes", "stowaway"],
)
def test_an_archive_of_another_layout(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "g.npz", **arrays)
    with pytest.raises(CheckpointError, match="not a readable golden file"):
        read_golden(tmp_path / "g.npz")
