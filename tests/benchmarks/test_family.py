"""The family report: how its figures are taken, that no cell is empty, that the committed one is of these presets."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from nafnet_deploy import presets
from nafnet_deploy.benchmarks.cards import BEGIN, END
from nafnet_deploy.benchmarks.family import (
    HEADINGS,
    NOT_YET,
    FamilyReport,
    Measurement,
    NetworkFigures,
    PlanFigures,
    Speed,
)
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export import run as exporting
from nafnet_deploy.parity.tolerance import LIMITS
from nafnet_deploy.presets import PRESETS, Preset
from tests.variants import PLAIN

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/family.py"
RESULT = ROOT / "benchmarks/results/family.json"

WHOLE = NetworkFigures(
    "one",
    1_234_567,
    8.5,
    "",
    Measurement(3e-7, "1x3x32x48"),
    Measurement(75.25, "1x3x16x16"),
    Speed((30.0, 20.0, 10.0), (10.0, 10.0, 10.0), "1x3x64x64"),
    PlanFigures(5_000_000, 3.2, 2**30, "1x1080x1920"),
    PlanFigures(None, failure="no graph"),
)


def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_a_row_has_a_text_for_every_heading() -> None:
    cells = WHOLE.cells()
    assert len(cells) == len(HEADINGS)
    assert cells[1:6] == ("1,234,567", "8.50", "3.0e-07 (1x3x32x48)", "75.2 dB (1x3x16x16)", "2.00 (1x3x64x64)")
    assert cells[6] == "yes, 5.0 MB in 3 s, memory of the build 1.0 GiB (up to 1x1080x1920)"
    assert cells[7] == "failed: no graph"
    assert NetworkFigures("none", 1, 0.1).cells()[3:] == (NOT_YET,) * 5


def test_a_failure_a_gap_or_a_passed_limit_makes_the_report_false() -> None:
    sound = dataclasses.replace(WHOLE, plan_fp16=WHOLE.plan_fp32)
    assert sound
    for change in (
        {"plan_fp16": WHOLE.plan_fp16},
        {"half": None},
        {"half": Measurement(59.0)},
        {"parity": Measurement(1e-3)},
    ):
        assert not dataclasses.replace(sound, **change)


def test_a_figure_has_a_value_or_a_reason() -> None:
    for wrong in (lambda: Measurement(None), lambda: Measurement(1.0, failure="x"), lambda: Speed((), ())):
        with pytest.raises(ValueError, match="value or a failure"):
            wrong()
    with pytest.raises(ValueError, match="turn in every round"):
        Speed((1.0,), (1.0, 2.0))


def test_json_comes_back_equal_and_a_forged_verdict_is_refused() -> None:
    report = FamilyReport((WHOLE,), read_environment())
    assert FamilyReport.from_json(report.to_json()) == report
    with pytest.raises(ConfigError, match="passed"):
        FamilyReport.from_json(report.to_json().replace('"passed": false', '"passed": true'))


def test_a_network_is_exported_and_measured_in_both_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "tiny", Preset(PLAIN, "", "for tests"))
    for name in ("prove", "prove_half"):  # the script's own take their place in its process
        monkeypatch.setattr(exporting, name, getattr(exporting, name))
    measure = script()["measure"]
    measure.__globals__["SIDES"] = (32,)
    full, half = measure("tiny", "fp32", tmp_path), measure("tiny", "fp16", tmp_path)
    assert 0 < full["parity"].value < LIMITS["fp32"].max_abs_error
    assert len(full["speed"].torch_ms) == len(full["speed"].onnxruntime_ms) == 5
    assert half["half"].value > 60
    (tmp_path / "fp32.onnx").unlink()
    plan = script()["build"](tmp_path)
    assert plan.plan_bytes > 10_000
    assert plan.peak_bytes > 2**26


def test_a_process_that_fails_or_takes_too_long_says_so() -> None:
    run = script()["_run"]
    assert run([sys.executable, "-c", "print('words'); print('{\"a\": 1}')"], 60) == ({"a": 1}, "")
    assert run([sys.executable, "-c", "raise SystemExit('no such part')"], 60) == ({}, "no such part")
    assert run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5) == ({}, "took more than 0.5 s")
    failing = [sys.executable, str(SCRIPT), "--stage", "light", "plan", str(SCRIPT.parent / "suites")]
    assert run(failing, 60)[1].startswith("ValueError"), "there is no graph"


def test_what_was_measured_is_kept_and_twins_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"light": PRESETS["light"], "real-time": PRESETS["real-time"]}
    names = script()
    known, write = names["known"], names["write"]
    known.__globals__["PRESETS"] = write.__globals__["PRESETS"] = small
    result, doc = tmp_path / "family.json", tmp_path / "family.md"
    doc.write_text(f"above\n{BEGIN}\n{END}\nbelow\n")
    networks = known(result)
    assert networks["light"].parameters == 874_851
    networks["light"] = dataclasses.replace(networks["light"], parity=Measurement(3e-7, "1x3x32x48"))
    write(networks, result, doc)
    again = known(result)
    assert again["real-time"] == dataclasses.replace(again["light"], name="real-time", same_as="light")
    assert again["real-time"].parity == Measurement(3e-7, "1x3x32x48")
    assert doc.read_text().count("3.0e-07") == 2


def test_the_committed_report_has_every_preset_measured_and_within_the_limits() -> None:
    report = FamilyReport.from_json(RESULT.read_text(encoding="utf-8"), RESULT.name)
    assert [n.name for n in report.networks] == list(PRESETS), "run: python benchmarks/family.py --table"
    assert [n.name for n in report.networks if not n] == [], "a gap, a failure or a limit passed; run: make family"
    assert report


def test_the_documentation_shows_the_committed_report() -> None:
    report = FamilyReport.from_json(RESULT.read_text(encoding="utf-8"), RESULT.name)
    text = (ROOT / "docs/family.md").read_text(encoding="utf-8")
    assert report.markdown() in text, "run: python benchmarks/family.py --table"
    assert json.loads(RESULT.read_text(encoding="utf-8"))["schema"] == report.schema
