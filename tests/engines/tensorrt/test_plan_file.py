"""A plan and its sidecar are both there and vouch for each other, or neither is."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest

from nafnet_deploy.engines.plan import Plan, PlanManifest, ShapeProfile, open_plan, sidecar_of, write_plan
from nafnet_deploy.errors import CheckpointError, ConfigError, EngineError, ExportError
from nafnet_deploy.manifest import sha256_of_bytes
from tests.engines.tensorrt.graphs import manifest


def plan_of(data: bytes) -> Plan:
    model = manifest()
    side = (1, 3, 64, 64)
    return Plan(
        data,
        PlanManifest(
            model=model, iterations=3, target="tensorrt-rtx", version="1.7", cuda="13", gpus=("sm86",), device="",
            inputs=model.inputs, outputs=model.outputs, profiles=(ShapeProfile("input", side, side, side),),
            precision_asked="fp32", precision_built="fp32", layers={"float32": 3}, flags=(), workspace=None,
            read_from="network", activation_bytes=None, plan_bytes=len(data), seconds=1.5, date="2026-01-01",
            warnings=(), versions={}, graph_sha256="0", plan_sha256=sha256_of_bytes(data), key="k",
        ),
    )  # fmt: skip


def test_a_plan_survives_the_disk(tmp_path: Path) -> None:
    plan, path = plan_of(b"plan"), tmp_path / "new" / "a.engine"
    write_plan(plan, path)
    found = open_plan(path)
    assert found.manifest == plan.manifest
    assert path.read_bytes() == b"plan"
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.engine", "a.json"]


@pytest.mark.parametrize("victim", ["write_bytes", "write_text", "replace"])
def test_a_full_disk_leaves_the_old_plan_and_nothing_else(
    victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.engine"
    write_plan(plan_of(b"old"), path)

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, victim, full)
        with pytest.raises(ExportError, match=r"No space left on device.*free some space") as caught:
            write_plan(plan_of(b"new"), path)
    assert caught.value.exit_code == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.engine", "a.json"]
    assert open_plan(path).path.read_bytes() == b"old"


@pytest.mark.parametrize("damage", [b"", b"pla", b"plan!", b"\0" * 4])
def test_a_plan_that_its_sidecar_does_not_vouch_for_is_refused(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    write_plan(plan_of(b"plan"), path)
    path.write_bytes(damage)
    with pytest.raises(EngineError, match="the hash differs") as caught:
        open_plan(path)
    assert caught.value.exit_code == 6


def test_missing_and_broken_sidecars_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    with pytest.raises(CheckpointError, match="does not exist"):
        open_plan(path)
    plan = plan_of(b"plan")
    path.write_bytes(plan.data)
    with pytest.raises(CheckpointError, match=r"no manifest a\.json"):
        open_plan(path)
    for text in ("{", "[]", "\xff"):
        sidecar_of(path).write_text(text, encoding="latin-1")
        with pytest.raises(CheckpointError, match="not a"):
            open_plan(path)
    table = json.loads(plan.manifest.to_json())
    sidecar_of(path).write_text(json.dumps({**table, "extra": 1}))
    with pytest.raises(ConfigError, match="unknown key 'extra'"):
        open_plan(path)
    with pytest.raises(ConfigError, match="format 99"):
        dataclasses.replace(plan.manifest, schema=99)
