"""A parity report for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from nafnet_deploy.parity.chain import FAIL, PASS, ChainReport, Link
from nafnet_deploy.parity.compare import ParityRow
from nafnet_deploy.parity.report import size
from nafnet_deploy.parity.steps import Step

MOST_FAILURES = 10
"""Failed comparisons that are listed; the other reports have all of them."""
_COLOUR = {PASS: "[green]pass[/]", FAIL: "[red]FAIL[/]"}


def tables(report: ChainReport) -> list[Table]:
    """The chain, its iterations, the failed comparisons and the self-tests."""
    found = [_chain(report), _steps(report), *([_failures(report)] if report.failed_links else []), _tests(report)]
    return [table for table in found if table.row_count]


def scientific(value: float | None) -> str:
    """`1.2e-07`, or a dash for what is unknown."""
    return "-" if value is None else f"{value:.1e}"


def decibels(row: ParityRow) -> str:
    """PSNR of a comparison: a figure, `inf` for equal pictures, a dash for what cannot be compared."""
    found = row.difference
    return "inf" if found.max_abs_error == 0 else "-" if found.psnr is None else f"{found.psnr:.1f}"


def worst(link: Link) -> str:
    """The largest error of a link by its own statistic."""
    errors = [step.worst_error for step in link.steps]
    known = [error for error in errors if error is not None]
    return "-" if len(known) < len(errors) or not known else scientific(max(known))


def lowest_psnr(link: Link) -> str:
    """The lowest PSNR of a link."""
    if any(row.difference.max_abs_error is None for row in link.rows) or not link.rows:
        return "-"
    known = [row.difference.psnr for row in link.rows if row.difference.psnr is not None]
    return f"{min(known):.1f}" if known else "inf"


def limit_text(link: Link) -> str:
    """`max < 2e-05`, with PSNR and relative limit where they are asked for."""
    if link.limits is None:
        return "-"
    limits = link.limits
    text = f"{limits.stat} < {limits.max_abs_error:g}"
    text += f" + {limits.rtol:g} of value" if limits.rtol else ""
    return text + (f", {limits.min_psnr:g} dB" if limits.min_psnr is not None else "")


def use_text(link: Link, step: Step) -> str:
    """Whether an iteration is of use, in words."""
    if step.useful is None:
        return "unknown"
    drowned = "drowned in rounding" if step.iteration in link.drowned else "its error is too large"
    return "yes" if step.useful else f"no: {drowned}"


def _chain(report: ChainReport) -> Table:
    table = Table(
        title=f"Parity of {escape(report.model)}, {report.precision}", caption=escape("\n".join(report.remarks()))
    )
    for heading in ("Link", "Reference", "Compared"):
        table.add_column(heading, overflow="fold")
    for heading in ("Pairs", "Worst error", "Limit", "PSNR (dB)"):
        table.add_column(heading, justify="right")
    table.add_column("Verdict")
    for link in report.links:
        figures = (str(len(link.rows)), worst(link), limit_text(link), lowest_psnr(link)) if link.rows else ("-",) * 4
        name, verdict = escape(link.name), _COLOUR.get(link.verdict, link.verdict)
        table.add_row(name, escape(link.reference) or "-", escape(link.engine) or "-", *figures, verdict)
    return table


def _steps(report: ChainReport) -> Table:
    table = Table(title="Iterations")
    table.add_column("Link")
    for heading in ("Iteration", "Worst error", "Error", "Growth", "Change of the picture"):
        table.add_column(heading, justify="right")
    table.add_column("Useful")
    for link in report.links:
        for step in link.steps:
            table.add_row(
                escape(link.name),
                str(step.iteration),
                scientific(step.worst_error),
                scientific(step.error),
                "-" if step.growth is None else f"x {step.growth:.2f}",
                scientific(step.change),
                use_text(link, step) if step.useful else f"[yellow]{use_text(link, step)}[/]",
            )
    return table


def _failures(report: ChainReport) -> Table:
    failed = [(link, row) for link in report.links for row in link.failures]
    title = "Failed comparisons" + (f", the first {MOST_FAILURES} of {len(failed)}" * (len(failed) > MOST_FAILURES))
    table = Table(title=title)
    for heading in ("Link", "Iteration", "Input", "Shape", "PSNR (dB)", "Why"):
        table.add_column(heading, overflow="fold")
    for link, row in failed[:MOST_FAILURES]:
        words = (link.name, str(row.iteration), row.name or "-", size(row.shape), decibels(row), row.difference.fault)
        table.add_row(*map(escape, words))
    return table


def _tests(report: ChainReport) -> Table:
    table = Table(title=f"Self-tests of {escape(report.engine)}")
    for heading in ("Must hold", "Found", "Verdict"):
        table.add_column(heading, overflow="fold")
    for test in report.self_tests:
        table.add_row(escape(test.name), escape(test.detail), _COLOUR.get(test.verdict, test.verdict))
    return table
