"""Names of exports: inside the folder that was asked for, and never those of a part."""

from __future__ import annotations

from pathlib import Path

import pytest

from nafnet_deploy.checkpoints.store import Checkpoint
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.places import draft_folder, target_path
from nafnet_deploy.export.recipe import ExportRecipe
from tests.tiny import RR


@pytest.mark.parametrize(
    ("name", "model", "stem"),
    [
        ("plain", "", "plain"),
        ("../../evil", "", "evil"),
        ("/etc/evil", "", "etc-evil"),
        ("-rf", "", "rf"),
        ("..", "", "model"),
        ("", "weights/my net.pth", "my-net"),
    ],
)
def test_a_name_out_of_a_file_stays_in_the_folder(name: str, model: str, stem: str) -> None:
    path = target_path(Checkpoint({}, RR, name, "", {}), ExportRecipe(model=model, output="out"), 3)
    assert path.parent == Path("out")
    assert path.name.endswith(f"{stem}-n3-dynamic-fp32.onnx")


@pytest.mark.parametrize("part", ["head", "step", "tail"])
def test_the_name_of_a_part_is_refused(part: str) -> None:
    for recipe in (ExportRecipe(output=f"m.{part}.onnx"), ExportRecipe(name=f"m.{part}")):
        with pytest.raises(ConfigError, match="name of a part"):
            target_path(Checkpoint({}, RR, "m", "", {}), recipe, 3)


def test_a_folder_that_was_made_for_nothing_vanishes(tmp_path: Path) -> None:
    for kept in (True, False):
        target = tmp_path / str(kept) / "a.onnx"
        with draft_folder(target) as folder:
            (folder / "x").write_text("draft")
            if kept:
                (folder / "x").replace(target)
        assert target.parent.exists() == kept
    with draft_folder(tmp_path / "b.onnx"):
        pass
    assert tmp_path.exists()
