"""`nafdeploy parity`: does the graph compute what the network computes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, progress, say, show
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.parity.run import Pictures


def parity(
    bundle: str = typer.Argument(DEFAULT_MODEL, help="A released model or an exported .onnx file."),
    model: str | None = typer.Option(
        None, "-m", "--model", help="Checkpoint to compare with, in PyTorch. (default: the bundle's golden file)"
    ),
    engine: str | None = typer.Option(
        None,
        help=f"{ENGINE_HELP} Here also oracle: the graph in exactly its own arithmetic, slow. "
        "(default: onnxruntime, oracle for an fp16 graph)",
    ),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
    json_out: bool = typer.Option(False, "--json", help="Print the report as JSON on stdout."),
) -> None:
    """Compare a graph with its network, iteration by iteration. Exit code 5 when they differ."""
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.errors import ParityError
    from nafnet_deploy.parity.run import run_parity
    from nafnet_deploy.released import find_bundle

    found = find_bundle(bundle)
    only = None if engine is None else iterations_of(engine)
    with progress() as bar:
        task = bar.add_task("parity", total=None)
        report = run_parity(
            found,
            None if model is None else pytorch(model, found.manifest.tlc),
            iterations=None if only is None else (only,),
            engine=engine,
            trust=trust_engine,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json_out:
        print(report.to_json(), end="")
    else:
        show(report.table())
    if not report:
        raise ParityError(report.verdict(), "Export again from the checkpoint that you mean.")
    say(report.verdict())


def pytorch(model: str, tlc: int) -> Pictures:
    """A checkpoint's network in FP32 PyTorch with that window of local means, as the reference of a comparison."""
    from nafnet_deploy.errors import MissingDependency

    try:
        from nafnet_deploy.checkpoints.catalogue import load_model
        from nafnet_deploy.export.run import reference
        from nafnet_deploy.models.local_means import localise
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", "export", "to run the network in PyTorch") from error
    checkpoint = load_model(model)
    return reference(localise(checkpoint.network(), checkpoint.config, tlc))
