"""The command `nafdeploy`. Each command parses, calls one `run`, prints; heavy imports wait until then.

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 environment, 4 export or build, 5 parity, 6 incompatible engine,
7 unreliable benchmark with --strict, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys

import typer

from nafnet_deploy.cli.bench import bench
from nafnet_deploy.cli.build import build
from nafnet_deploy.cli.demo import demo
from nafnet_deploy.cli.doctor import doctor
from nafnet_deploy.cli.export import export
from nafnet_deploy.cli.inspect import inspect
from nafnet_deploy.cli.parity import parity
from nafnet_deploy.cli.run import run
from nafnet_deploy.cli.train import train
from nafnet_deploy.errors import NafdeployError

app = typer.Typer(
    name="nafdeploy",
    help="NAFNet-family image restoration, from PyTorch to production.",
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage, 3 environment, 4 export or build, 5 parity, "
    "6 incompatible engine, 7 unreliable benchmark, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, export, build, parity, bench, train, inspect, doctor, demo):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        from nafnet_deploy import __version__

        typer.echo(f"nafdeploy {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks. May stand anywhere on the line."),
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point: runs the app and turns our errors into one line and an exit code."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(args=arguments)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, NafdeployError):
            print(f"nafdeploy: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        if isinstance(error, BrokenPipeError):  # the reader of our output went away, e.g. `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        print(f"nafdeploy: unexpected {type(error).__name__}: {error}", file=sys.stderr)
        print("Run the same command with --debug and report what it shows.", file=sys.stderr)
        sys.exit(1)
