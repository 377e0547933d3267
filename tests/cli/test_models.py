"""`nafdeploy models` says what is true of every network."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nafnet_deploy import model_list
from nafnet_deploy.config import ARCHITECTURES, TASKS, ModelConfig
from nafnet_deploy.engines.registry import ENGINES, open_engine
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.split import check_splits
from nafnet_deploy.model_list import list_models, supported
from nafnet_deploy.presets import PRESETS, Preset
from nafnet_deploy.released import released_models
from tests.cli.conftest import Command
from tests.exports import Exported
from tests.variants import ALL_IN_ONE, PLAIN, RESTORMER, RR, STEREO, variant

SMALL = {
    "nafnet": PLAIN,
    "nafnet-rr": dataclasses.replace(RR, positions=("middle",)),
    "nafssr": STEREO,
    "restormer": RESTORMER,
    "all-in-one": ALL_IN_ONE,
}
"""A small network of every architecture."""
FEW = {name: PRESETS[name] for name in ("light", "denoising", "nafssr-t-x2", "all-in-one")}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, Preset]:
    monkeypatch.setattr(model_list, "PRESETS", FEW)
    return FEW


def test_every_name_is_listed_once() -> None:
    names = [name for name, *_ in model_list._named()]
    assert names == [*released_models(), *PRESETS]


def test_figures_of_a_network(few: dict[str, Preset]) -> None:
    facts = {f.name: f for f in list_models()}
    stereo = facts["nafssr-t-x2"]
    assert (stereo.parameters, stereo.scale, stereo.views, stereo.size_multiple) == (445_068, 2, 2, 1)
    light, denoising = facts["light"], facts["denoising"]
    assert light.parameters == denoising.parameters == 874_851
    assert light.gmacs is not None
    assert denoising.gmacs is not None
    assert light.gmacs < denoising.gmacs, "more iterations multiply more"
    assert facts["denoise-light"].released
    assert not light.released


def test_json_on_stdout_is_the_list(few: dict[str, Preset], command: Command) -> None:
    done = command("models", "--json")
    assert (done.code, done.err) == (0, "")
    table = {row["name"]: row for row in json.loads(done.out)}
    assert set(table) == {*released_models(), *FEW}
    assert table["light"]["engines"]["onnxruntime"] == ["fp32", "split"]
    assert table["light"]["experts"] == []
    assert table["all-in-one"]["experts"] == list(TASKS)


def test_people_see_a_table_on_stderr(few: dict[str, Preset], command: Command) -> None:
    done = command("models")
    assert (done.code, done.out) == (0, "")
    for word in ("874,851", "445,068", "17,921,388", "stereo-super-resolution", "low-light", *ENGINES):
        assert word in done.err


def test_there_is_a_small_one_of_every_architecture() -> None:
    assert set(SMALL) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", [*SMALL, "nafft"])
def test_engines_of_this_machine_run_what_the_list_says(name: str, exported: Exported) -> None:
    config: ModelConfig = SMALL[name] if name in SMALL else variant(name)
    bundle = exported(config)
    x = np.random.default_rng(0).random((1, config.planes, 32, 48), np.float32)
    pictures = []
    for engine in ("onnxruntime", "openvino"):
        assert "fp32" in supported(config)[engine]
        with open_engine(engine, bundle) as opened:
            pictures.append(opened.run({"input": x})["output"])
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-4
    assert np.abs(pictures[0]).max() > 0.1


@pytest.mark.parametrize("positions", [(), ("middle",), ("encoder", "middle")])
def test_split_is_listed_where_export_splits(positions: tuple[str, ...]) -> None:
    config = dataclasses.replace(RR, positions=positions) if positions else PLAIN
    try:
        check_splits(config)
        splits = True
    except ConfigError:
        splits = False
    assert any("split" in forms for forms in supported(config).values()) is splits
