"""A parity report as one self-contained HTML page: no script, nothing from a network, legible in light and dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nafnet_deploy.images.colormap import colours
from nafnet_deploy.parity.chain import ChainReport, Link
from nafnet_deploy.parity.maps import DECADES, KINDS, ErrorMap, error_colours
from nafnet_deploy.parity.plot import error_plot
from nafnet_deploy.parity.report import legal, size
from nafnet_deploy.parity.tables import decibels, limit_text, lowest_psnr, scientific, use_text, worst

Maps = Mapping[tuple[str, str, int], ErrorMap]

STYLE = """
:root { color-scheme: light dark; --bg: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --good: #116329; --bad: #b3121d; --none: #6e5300; --s0: #b3121d; --s1: #0b5fbf; --s2: #116329; }
@media (prefers-color-scheme: dark) { :root { --bg: #0f1319; --ink: #e6edf3; --soft: #9aa4b0; --line: #30363d;
  --card: #171c23; --good: #56d364; --bad: #ff7b72; --none: #e3b341; --s0: #ff7b72; --s1: #79b8ff; --s2: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1080px; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 6px; } h4 { font-size: 13px; margin: 14px 0 4px; }
p { margin: 6px 0; } .soft, figcaption, dt { color: var(--soft); }
.pass { color: var(--good); } .fail { color: var(--bad); } .skip { color: var(--none); }
.verdict { font-weight: 600; } .box { overflow-x: auto; }
.chain { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px; margin: 16px 0; }
.card { border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 5px 10px 5px 0; text-align: left; vertical-align: top; }
details td:not(:last-child) { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } .n { text-align: right; }
svg { width: 100%; max-width: 760px; } svg text { font-size: 12px; fill: var(--soft); }
.grid { stroke: var(--line); } line.limit { stroke: var(--ink); stroke-dasharray: 5 4; }
svg text.limit { fill: var(--ink); }
polyline { fill: none; stroke-width: 2; } polyline.s0 { stroke: var(--s0); } polyline.s1 { stroke: var(--s1); }
polyline.s2 { stroke: var(--s2); } .s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); }
svg text.s0 { fill: var(--s0); } svg text.s1 { fill: var(--s1); } svg text.s2 { fill: var(--s2); }
polyline.s0, polyline.s1, polyline.s2 { fill: none; }
.maps { display: flex; flex-wrap: wrap; gap: 16px; } figure { margin: 0; width: 300px; }
figure div { display: flex; gap: 4px; } figure img { width: 148px; image-rendering: pixelated; }
figcaption { font-size: 13px; } .scale { width: 260px; height: 12px; vertical-align: middle; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; } dd { margin: 0; overflow-wrap: anywhere; }
"""
_CLASS = {"pass": "pass", "fail": "fail"}


def page(report: ChainReport, maps: Maps) -> str:
    """The whole page.

    Args:
        report: what was found.
        maps: what a `MapCollector` kept while it was found; may be empty.
    """
    title = escape(f"Parity of {report.model}, {report.precision}")
    state, word = ("pass", "Passed") if report else ("fail", "Failed")
    body = [
        f'<h1>{title}</h1><p class="verdict {state}">{word}: {escape(report.verdict())}</p>',
        f'<div class="chain">{"".join(map(_card, report.links))}</div>',
        *(_section(link, maps) for link in report.links if link.rows),
        "<h2>Self-tests</h2>",
        _table(
            ("Must hold", "Found", "Verdict"),
            ((escape(t.name), escape(t.detail), _verdict(t.verdict)) for t in report.self_tests),
        ),
        _machine(report),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return legal(
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _verdict(word: str) -> str:
    return f'<span class="verdict {_CLASS.get(word, "skip")}">{escape(word)}</span>'


def _card(link: Link) -> str:
    if link.rows:
        words = f"{link.reference} against {link.engine}; worst {worst(link)}, limit {limit_text(link)}"
    else:
        words = link.reason or link.fault()
    return (
        f'<div class="card"><strong>{escape(link.name)}</strong><br>{_verdict(link.verdict)}'
        f'<p class="soft">{escape(words)}</p></div>'
    )


def _section(link: Link, maps: Maps) -> str:
    steps = _table(
        ("Iteration", "Worst error", "Mean error", "Growth", "Change of picture", "Useful"),
        (
            (
                str(step.iteration),
                scientific(step.worst_error),
                scientific(step.error),
                "-" if step.growth is None else f"x {step.growth:.2f}",
                scientific(step.change),
                use_text(link, step) if step.useful else f'<span class="skip">{use_text(link, step)}</span>',
            )
            for step in link.steps
        ),
    )
    limit = link.limits.max_abs_error if link.limits else 1.0
    parts = [
        f"<h2>{escape(link.name)}</h2><p>{escape(link.reference)} against {escape(link.engine)}, {len(link.rows)} "
        f"comparisons, lowest PSNR {lowest_psnr(link)} dB. {_verdict(link.verdict)}</p>",
        f'<p class="soft">{escape(link.note)}</p>' if link.note else "",
        f'<div class="box">{error_plot(link)}</div>{steps}',
    ]
    if any(key[0] == link.name for key in maps):
        parts += _maps(link.name, maps, limit)
    rows = _table(
        ("Iteration", "Input", "Shape", "Max", "Mean", "p99", "PSNR (dB)", "Verdict"),
        (
            (
                str(row.iteration),
                escape(row.name or str(row.case)),
                size(row.shape),
                *(scientific(row.difference.error(stat)) for stat in ("max", "mean", "p99")),
                decibels(row),
                _verdict("pass" if row.difference.passed else "fail") + " " + escape(row.difference.fault),
            )
            for row in sorted(link.rows, key=lambda row: row.difference.passed)  # what failed comes first
        ),
    )
    opened = " open" if link.failures else ""
    return "".join(parts) + f"<details{opened}><summary>All {len(link.rows)} comparisons</summary>{rows}</details>"


def _maps(link: str, maps: Maps, limit: float) -> list[str]:
    legend = _image(np.tile(colours(np.linspace(0, 1, 130)), (6, 1, 1)), "colour scale", "scale")
    parts = [
        f'<h3>Where the error sits</h3><p class="soft">{limit / 10**DECADES:.0e} {legend} {limit:.0e} (the limit) and '
        "more; magenta: not finite. The worst input of each kind at each iteration, and on the right its error.</p>"
    ]
    for kind in KINDS:
        found = sorted(
            ((key[2], kept) for key, kept in maps.items() if key[:2] == (link, kind)), key=lambda item: item[0]
        )
        if found:
            figures = "".join(_figure(n, kept, limit) for n, kept in found)
            parts.append(f'<h4>{kind.capitalize()}</h4><div class="maps">{figures}</div>')
    return parts


def _figure(n: int, kept: ErrorMap, limit: float) -> str:
    words = f"Iteration {n}: {kept.words}"
    pictures = _image(kept.input, f"input, {words}") + _image(error_colours(kept.error, limit), f"error, {words}")
    return f"<figure><div>{pictures}</div><figcaption>{escape(words)}</figcaption></figure>"


def _table(headings: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="box"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _image(pixels: NDArray[np.uint8], words: str, kind: str = "") -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    group = f' class="{kind}"' if kind else ""
    return f'<img{group} alt="{escape(words)}" src="data:image/png;base64,{data}">'


def _machine(report: ChainReport) -> str:
    here = report.environment
    facts = {
        "Graph (SHA-256)": report.graph_sha256,
        "Engine": report.engine,
        "Machine": f"{here.cpu}, {here.cores} cores, {here.system}",
        "Packages": ", ".join(f"{name} {version}" for name, version in here.packages.items()),
        "Date": here.date,
    }
    return f"<h2>Made with</h2><dl>{''.join(f'<dt>{k}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl>"
