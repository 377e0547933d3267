"""`nafdeploy parity`: does the graph, and the engine made of it, compute what the network computes?"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, progress, say, show
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.manifest import ModelManifest
    from nafnet_deploy.parity.chain import ChainReport
    from nafnet_deploy.parity.run import Pictures


def parity(
    bundle: str = typer.Argument(DEFAULT_MODEL, help="A released model or an exported .onnx file."),
    model: str | None = typer.Option(
        None, "-m", "--model", help="Checkpoint to compare with, in PyTorch. (default: the bundle's golden file)"
    ),
    fp32: Path | None = typer.Option(
        None, "--fp32", help="The fp32 bundle of an fp16 one. (default: X-fp32.onnx beside X-fp16.onnx)"
    ),
    engine: str | None = typer.Option(
        None,
        help=f"Checks the last link: {ENGINE_HELP} Here also oracle: the graph in exactly its own arithmetic, slow.",
    ),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
    images: Path | None = typer.Option(
        None, help="Folder of pictures to compare besides the seeded ones, with -m, --engine or an fp16 bundle."
    ),
    atol: float | None = typer.Option(None, help="Absolute limit of every link. (default: 2e-5 fp32, 0.02 fp16)"),
    rtol: float | None = typer.Option(None, help="Relative limit of every link, added to --atol. (default: 0)"),
    psnr_min: float | None = typer.Option(
        None, "--psnr-min", help="Least PSNR of every link (dB). (default: none for fp32, 60 for fp16)"
    ),
    error_stat: str | None = typer.Option(
        None, "--error-stat", help="What is taken over the differences: max, mean or p99. (default: max)"
    ),
    json_out: bool = typer.Option(False, "--json", help="Print the report as JSON on stdout."),
    schema: bool = typer.Option(False, "--schema", help="Print the JSON Schema of that report and stop."),
    junit: Path | None = typer.Option(None, help="Write the report as JUnit XML, to a name that ends with .xml."),
    html: Path | None = typer.Option(
        None,
        help="Write the report as one page, with pictures of where the error sits, to a name that ends with .html.",
    ),
) -> None:
    """Compare network, graph and engine, iteration by iteration. Link by link; exit code 5 when a limit fails."""
    from nafnet_deploy.parity.schema import schema_text

    if schema:
        print(schema_text(), end="")
        return
    from nafnet_deploy.errors import ParityError
    from nafnet_deploy.parity.junit import junit as as_junit
    from nafnet_deploy.parity.maps import MapCollector
    from nafnet_deploy.parity.page import page
    from nafnet_deploy.parity.tables import tables
    from nafnet_deploy.parity.walk import Demand, run_chain
    from nafnet_deploy.released import find_bundle

    found = find_bundle(bundle)
    demand = Demand(atol, rtol, psnr_min, error_stat)
    collector = MapCollector(found.manifest)
    _check_place(junit, ".xml")
    _check_place(html, ".html")
    with progress() as bar:
        task = bar.add_task("parity", total=None)
        report = run_chain(
            found,
            None if model is None else pytorch(model, found.manifest),
            full=None if fp32 is None else find_bundle(fp32),
            engine=engine,
            images=images,
            demand=demand,
            trust=trust_engine,
            on_link=lambda name: bar.update(task, description=name, completed=0, total=None),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            on_pair=None if html is None else collector,
        )
    unwritten = _write(junit, as_junit(report)) if junit else None
    unwritten = (_write(html, page(report, collector.maps)) if html else None) or unwritten
    try:
        if json_out:
            print(report.to_json(), end="", flush=True)
        else:
            for table in tables(report):
                show(table)
    except BrokenPipeError:
        if report:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not report:  # exit code 5 whatever else is wrong: a reader who went away, a report that cannot be written
        if unwritten is not None:
            say(str(unwritten))
        raise ParityError(report.verdict(), _mend(report))
    if unwritten is not None:
        raise unwritten
    say(report.verdict())


def pytorch(model: str, manifest: ModelManifest) -> Pictures:
    """A checkpoint's network in FP32 PyTorch, as the reference of a graph.

    Raises:
        ConfigError: it takes or gives other pictures than the graph, has no iterations, or no experts for its task.
        MissingDependency: torch is not installed.
    """
    from nafnet_deploy.errors import ConfigError, MissingDependency

    try:
        from nafnet_deploy.checkpoints.catalogue import load_model
        from nafnet_deploy.export.run import for_task, reference
        from nafnet_deploy.models.local_means import localise
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", "export", "to run the network in PyTorch") from error
    checkpoint = load_model(model)
    if manifest.iterations > 1 and not checkpoint.config.positions:
        raise ConfigError(
            f"{model} has nothing to iterate and {manifest.name} has {manifest.iterations} iterations.",
            "Name the checkpoint that the graph was exported from.",
        )
    if manifest.model.expert:
        checkpoint = for_task(checkpoint, manifest.model.expert)
    for name, what in (
        ("planes", "channels"),
        ("scale", "times the size in each direction"),
        ("size_multiple", "pixels as the unit of sides"),
    ):
        theirs, ours = getattr(checkpoint.config, name), getattr(manifest.model, name)
        if theirs != ours:
            raise ConfigError(
                f"{model} has {theirs} {what} and {manifest.name} {ours}.",
                "Name the checkpoint that the graph was exported from.",
            )
    return reference(localise(checkpoint.network(), checkpoint.config, manifest.tlc))


def _mend(report: ChainReport) -> str:
    from nafnet_deploy.parity import chain

    if not report.failed_links:
        return "Do not deploy this engine: its answers depend on more than its input." if report.failed_tests else ""
    return {
        chain.EXPORT: "Export again from the checkpoint that you mean.",
        chain.HALF: "Export the fp16 graph again, with --fp32-trunk if half is too coarse.",
        chain.ENGINE: "The graph is sound: build the engine again, or use another.",
    }[report.failed_links[0].name]


def _check_place(path: Path | None, suffix: str) -> None:
    """Refuses what cannot become a report, and any name under which something may lie that this command reads."""
    from nafnet_deploy.errors import UsageError

    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise UsageError(f"{path} {what}.", "Give a file name in an existing folder.")
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path} is no name for this report.", f"Give one that ends with {suffix}.")


def _write(path: Path, text: str) -> UsageError | None:
    """Writes a report whole or not at all; the error where that fails."""
    from nafnet_deploy.errors import UsageError

    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        return UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another place.")
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    say(f"wrote {path}")
    return None
