"""The published description of a parity report's JSON."""

from __future__ import annotations

from importlib.resources import files


def schema_text() -> str:
    """`report.schema.json`: JSON Schema, draft 2020-12, of what `nafdeploy parity --json` prints."""
    return files("nafnet_deploy.parity").joinpath("report.schema.json").read_text(encoding="utf-8")
