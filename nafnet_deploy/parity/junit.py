"""A parity report as JUnit XML, which build servers show as tests."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from nafnet_deploy.parity.chain import FAIL, SKIPPED, ChainReport, Link
from nafnet_deploy.parity.report import legal, size


def junit(report: ChainReport) -> str:
    """One suite per link, with a case per comparison, and one suite for the self-tests."""
    root = ET.Element("testsuites", name=legal(f"nafdeploy parity {report.model}"))
    for link in report.links:
        _link(root, link)
    suite = ET.SubElement(root, "testsuite", name=legal(f"self-tests of {report.engine}"))
    for test in report.self_tests:
        _case(suite, "self-tests", test.name, test.verdict, test.detail)
    for group in (*root, root):
        cases = group.findall(".//testcase")
        group.set("tests", str(len(cases)))
        group.set("errors", "0")
        for kind in ("failure", "skipped"):
            group.set({"failure": "failures"}.get(kind, kind), str(sum(c.find(kind) is not None for c in cases)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _link(root: ET.Element, link: Link) -> None:
    suite = ET.SubElement(root, "testsuite", name=legal(link.name))
    if not link.rows:
        _case(suite, link.name, link.name, link.verdict, link.reason or link.fault())
    for row in link.rows:
        name = f"iteration {row.iteration}, input {row.case}, {size(row.shape)}" + (f", {row.name}" if row.name else "")
        _case(suite, link.name, name, "pass" if row.difference.passed else FAIL, row.difference.fault)


def _case(suite: ET.Element, group: str, name: str, verdict: str, detail: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=legal(group), name=legal(name))
    if verdict == FAIL:
        ET.SubElement(case, "failure", message=legal(detail))
    elif verdict == SKIPPED:
        ET.SubElement(case, "skipped", message=legal(detail))
