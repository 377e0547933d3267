"""A folder on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from nafnet_deploy.manifest import open_bundle
from nafnet_deploy.runtime.batch.journal import JOURNAL, PARTS, read_entries
from nafnet_deploy.runtime.cluster.run import ClusterPlan, restore_on_cluster
from nafnet_deploy.runtime.opening import Opening
from tests.bundles import write_bundle
from tests.runtime.batch.conftest import names, save, snapshot

PICTURES = 60


@pytest.mark.slow
def test_every_picture_is_restored_once_though_a_node_is_killed(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    write_bundle(tmp_path / "same.onnx")
    opening = Opening(open_bundle(tmp_path / "same.onnx"), engine="onnxruntime", threads=1)
    folder, out = tmp_path / "in", tmp_path / "out"
    for n in range(PICTURES):
        save(folder / f"{n:02}.png", 4 * n)
    (folder / "07.png").write_text("text")
    before = snapshot(folder)
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second, killed, stamps = cluster.add_node(**node), [], {}

    def kill(path: Path, done: int, total: int) -> None:
        if done == 12:
            stamps.update({name: (out / name).stat() for name in names(out)})
            cluster.remove_node(second, allow_graceful=False)
            killed.append(len(stamps))

    plan = ClusterPlan(cluster.address, str(folder), str(out))
    try:
        result = restore_on_cluster(plan, opening, kill)
    finally:
        cluster.shutdown()
    assert killed
    assert killed[0] < PICTURES - 1
    assert len(result.restored) == PICTURES - 1
    assert [failure.source.name for failure in result.failed] == ["07.png"]
    assert result.engine == "onnxruntime cpu"
    lines = Counter(entry.source for entry in read_entries((out / JOURNAL).read_bytes()))
    assert lines == Counter(f"{n:02}.png" for n in range(PICTURES) if n != 7)
    assert {name: (out / name).stat() for name in stamps} == stamps
    for n in range(PICTURES):
        if n != 7:
            assert Image.open(out / f"{n:02}.png").getpixel((0, 0)) == (4 * n,) * 3
    assert not (out / PARTS).exists()
    assert snapshot(folder) == before
