"""The tables of a model card, from committed evaluation reports: what is printed there was measured."""

from __future__ import annotations

from collections.abc import Sequence

from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport

PUBLISHED_NOISE = {
    "CBM3D": (33.52, 30.71, 27.38),
    "DnCNN": (33.90, 31.24, 27.95),
    "FFDNet": (33.87, 31.21, 27.96),
    "DRUNet": (34.30, 31.69, 28.51),
    "Restormer": (34.40, 31.79, 28.60),
}
"""PSNR (dB) on CBSD68, colour Gaussian noise of sigma 15, 25 and 50, as the papers state it."""
SIGMAS = (15, 25, 50)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""Between these lines a card holds the tables."""


def quality_table(report: EvaluationReport) -> list[str]:
    """PSNR, SSIM and the gain over one iteration, a row per N, in Markdown."""
    rows = ["| N | PSNR (dB) | gain over N = 1 (dB) | SSIM |", "|---|---|---|---|"]
    before, results = report.input, report.restored
    rows.append(f"| input | {before.psnr:.3f} | | {before.ssim:.4f} |")
    for n, after in zip(report.iterations, results, strict=True):
        assert after.psnr is not None
        assert results[0].psnr is not None
        gain = f"{after.psnr - results[0].psnr:+.3f}" if n != report.iterations[0] else ""
        rows.append(f"| {n} | {after.psnr:.3f} | {gain} | {after.ssim:.4f} |")
    return rows


def published_table(reports: Sequence[EvaluationReport], iterations: int) -> list[str]:
    """This network beside the published ones at sigma 15, 25 and 50, in Markdown.

    Args:
        reports: evaluations of noise; a sigma that is missing gives an empty cell.
        iterations: the N of our row.
    """
    ours = {r.sigma: r.restored[r.iterations.index(iterations)].psnr for r in reports}
    cells = [f"{ours[s]:.2f}" if ours.get(s) is not None else "" for s in SIGMAS]
    rows = ["| network | sigma 15 | sigma 25 | sigma 50 |", "|---|---|---|---|"]
    rows.append(f"| **{reports[0].model}**, N = {iterations} | " + " | ".join(cells) + " |")
    for name, values in PUBLISHED_NOISE.items():
        rows.append(f"| {name} (published) | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return rows


def tables(reports: Sequence[EvaluationReport], iterations: int) -> str:
    """All tables of one network's card, in Markdown."""
    lines: list[str] = []
    for report in sorted(reports, key=lambda r: r.sigma or 0):
        damage = f"noise of sigma {report.sigma:g}" if report.sigma is not None else report.degraded
        lines += [f"### {report.clean.upper()}, {damage}, {len(report.pictures)} pictures", ""]
        lines += [*quality_table(report), ""]
    if any(r.sigma is not None for r in reports):
        lines += ["### Beside published networks (CBSD68, PSNR in dB)", "", *published_table(reports, iterations), ""]
    return "\n".join(lines)


def fill(card: str, measured: str) -> str:
    """The card's text with the tables between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    before, _, rest = card.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise ValueError(f"the card needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"
