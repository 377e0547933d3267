"""What a report says in JSON, JUnit, HTML and on the terminal, of real chains that passed and that failed."""

from __future__ import annotations

import dataclasses
import html.parser
import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from nafnet_deploy.checkpoints.store import load_checkpoint
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.export.run import reference
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.parity.chain import FAIL, PASS, SKIPPED, ChainReport
from nafnet_deploy.parity.junit import junit
from nafnet_deploy.parity.maps import KINDS, MapCollector
from nafnet_deploy.parity.page import Maps, page
from nafnet_deploy.parity.schema import schema_text
from nafnet_deploy.parity.tables import tables
from nafnet_deploy.parity.walk import Demand, run_chain
from tests.parity import faults
from tests.parity.faults import planted

Found = tuple[ChainReport, Maps]


def chain(bundle: Bundle, *arguments: Any, **options: Any) -> Found:
    collector = MapCollector(bundle.manifest)
    return run_chain(bundle, *arguments, on_pair=collector, **options), collector.maps


@pytest.fixture(scope="module")
def passed(full: Bundle) -> Found:
    """Against PyTorch, with every input."""
    network = load_checkpoint(full.graph.with_suffix(".safetensors")).network()
    return chain(full, reference(network))


@pytest.fixture(scope="module")
def failed(full: Bundle, half: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A half graph that gives no numbers, and an engine that was not asked because of it."""
    bad = planted(half, faults.not_a_number, tmp_path_factory.mktemp("bad") / "bad-fp16.onnx")
    return chain(bad, full=full, engine="onnxruntime")


@pytest.fixture(scope="module", params=["passed", "failed"])
def found(request: pytest.FixtureRequest) -> Found:
    result: Found = request.getfixturevalue(request.param)
    return result


def test_the_published_schema_is_one_and_fits_real_reports(found: Found) -> None:
    report, _ = found
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = report.to_json()
    jsonschema.validate(json.loads(text), schema)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert ChainReport.from_json(text) == report


def test_the_schema_refuses_what_is_no_report(passed: Found) -> None:
    table, schema = json.loads(passed[0].to_json()), json.loads(schema_text())
    spoiled = [
        {key: value for key, value in table.items() if key != "links"},
        {**table, "links": table["links"][:2]},
        {**table, "schema": 1},
        {**table, "more": 1},
        {**table, "self_tests": [{**table["self_tests"][0], "verdict": "maybe"}]},
        {**table, "links": [{**table["links"][0], "rows": [{"iteration": 1}]}, *table["links"][1:]]},
    ]
    for wrong in spoiled:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_schema_describes_every_field_that_a_report_has(passed: Found) -> None:
    schema = json.loads(schema_text())

    def closed(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                assert part["additionalProperties"] is False
                assert set(part["required"]) == set(part["properties"])
            for value in part.values():
                closed(value)

    closed(schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema": 2', '"schema": 1'),
        ('"passed": true', '"passed": false'),
        ('"passed": true', '"pased": true'),
        ('"verdict": "pass"', '"verdict": "fail"'),
        ('"links"', '"link"'),
        ("{", "["),
    ],
)
def test_json_that_is_no_report_or_contradicts_itself_is_refused(passed: Found, old: str, new: str) -> None:
    text = passed[0].to_json()
    assert old in text
    with pytest.raises(ConfigError):
        ChainReport.from_json(text.replace(old, new, 1))


def test_junit_counts_every_comparison_and_test(found: Found) -> None:
    report, _ = found
    root = ET.fromstring(junit(report))
    links = list(root)[:3]
    for suite, link in zip(links, report.links, strict=True):
        assert suite.get("name") == link.name
        assert int(suite.get("tests", "")) == max(1, len(link.rows))
        assert int(suite.get("failures", "")) == len(link.failures)
        assert int(suite.get("skipped", "")) == (link.verdict == SKIPPED)
    verdicts = [test.verdict for test in report.self_tests]
    assert [root[3].get(k) for k in ("tests", "failures", "skipped")] == [
        str(n) for n in (len(verdicts), verdicts.count(FAIL), verdicts.count(SKIPPED))
    ]
    assert int(root.get("failures", "")) == sum(int(suite.get("failures", "")) for suite in root)
    assert (root.get("failures") == "0") is bool(report)


def test_names_that_xml_or_html_cannot_hold(passed: Found) -> None:
    report = dataclasses.replace(passed[0], model="a<b>&\x00\x1b[31m\udcff\"'")
    assert "a<b>&??[31m?" in (ET.fromstring(junit(report)).get("name") or "")
    text = page(report, passed[1])
    assert "<b>" not in text
    assert "a&lt;b&gt;&amp;??[31m?" in text


class Reader(html.parser.HTMLParser):
    """What a page loads, and whether its tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(found: Found) -> None:
    report, maps = found
    text = page(report, maps)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.sources
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert "script" not in reader.tags
    assert "url(" not in text
    assert "@import" not in text
    assert reader.tags.count("svg") == sum(bool(link.rows) for link in report.links)
    assert reader.tags.count("figure") == len(maps)
    assert ("Passed: " if report else "Failed: ") in text
    assert "drowned" not in text, "what failed did not drown in rounding"


def test_every_kind_of_input_is_drawn_at_every_iteration(passed: Found) -> None:
    name = passed[0].links[0].name
    assert set(passed[1]) == {(name, kind, n) for kind in KINDS[1:] for n in (1, 2, 3)}
    worst = max(row.difference.max_abs_error or 0 for row in passed[0].links[0].rows)
    assert max(kept.rank for kept in passed[1].values()) == worst


def test_the_terminal_names_each_link_iteration_and_failed_comparison(found: Found) -> None:
    report, _ = found
    console = Console(width=240, record=True, file=io.StringIO())
    for table in tables(report):
        console.print(table)
    text = console.export_text()
    for link in report.links:
        assert link.name in text
        assert not link.reason or link.reason in " ".join(text.split())
    assert ("FAIL" in text) is not bool(report)
    assert ("Failed comparisons" in text) is bool(report.failed_links)
    assert text.count("not finite") >= (0 if report else 10)


def test_limits_of_the_user_hold_for_every_link_and_stand_in_the_report(full: Bundle) -> None:
    demand = Demand(atol=1e-9, psnr_min=40.0, stat="mean")
    report = run_chain(full, demand=demand)
    link = report.links[0]
    assert link.limits is not None
    assert (link.limits.max_abs_error, link.limits.min_psnr, link.limits.stat) == (1e-9, 40.0, "mean")
    assert link.verdict == FAIL
    assert "mean abs error" in link.fault()
    assert run_chain(full, demand=Demand(atol=1e-9, rtol=1.0)).links[0].verdict == PASS
    assert run_chain(full, demand=Demand(psnr_min=400.0)).links[0].verdict == FAIL
