"""The command `nafdeploy`. Each command parses, calls one `run`, prints; heavy imports wait until then.

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 environment, 4 export or build, 5 parity, 6 incompatible engine,
7 unreliable benchmark with --strict, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from contextlib import redirect_stdout

import typer

from nafnet_deploy.cli.bench import bench
from nafnet_deploy.cli.build import build
from nafnet_deploy.cli.calibrate import calibrate
from nafnet_deploy.cli.compare import compare
from nafnet_deploy.cli.degrade import degrade
from nafnet_deploy.cli.demo import demo
from nafnet_deploy.cli.doctor import doctor
from nafnet_deploy.cli.eval import evaluate
from nafnet_deploy.cli.export import export
from nafnet_deploy.cli.init import init
from nafnet_deploy.cli.inspect import inspect
from nafnet_deploy.cli.models import models
from nafnet_deploy.cli.parity import parity
from nafnet_deploy.cli.run import run
from nafnet_deploy.cli.serve import serve
from nafnet_deploy.cli.tile import tile
from nafnet_deploy.cli.train import train
from nafnet_deploy.cli.triton import triton
from nafnet_deploy.errors import NafdeployError, UsageError

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM."""

app = typer.Typer(
    name="nafdeploy",
    help="NAFNet-family image restoration, from PyTorch to production.",
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage, 3 environment, 4 export, 5 parity, 6 incompatible engine, "
    "7 unreliable benchmark, 130 interrupted.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # importing what draws its frames takes as long as all the rest
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (
    run,
    compare,
    export,
    calibrate,
    build,
    parity,
    bench,
    init,
    degrade,
    tile,
    train,
    models,
    inspect,
    doctor,
    serve,
    triton,
    demo,
):
    app.command()(command)
app.command("eval")(evaluate)


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
    """Entry point: runs the app and ends the process with a documented exit code.

    SIGTERM, which job schedulers and containers send, unwinds like Ctrl-C, so that nothing half-written is left.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Runs one command line; every failure becomes one line on stderr and an exit code."""
    if "--debug" in arguments:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        if not arguments:  # help that nobody asked for is no output: it belongs to the error
            with redirect_stdout(sys.stderr):
                app(args=["--help"], standalone_mode=False)
            return 2
        if "" in arguments:  # of a shell variable that is not set; as a path it would be the current folder
            raise UsageError("one of the arguments is empty.", "Check the variables on the command line.")
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _explain(error)
    if code == INTERRUPTED:  # typer turns Ctrl-C inside a command into this code
        print(
            "nafdeploy: interrupted. Files that were finished are whole; nothing half-written is left.", file=sys.stderr
        )
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """Says on one line what went wrong and returns the exit code."""
    if isinstance(error, NafdeployError):
        line, code = str(error), error.exit_code
    elif hasattr(error, "format_message"):  # an unknown command or option; typer's class for it is not public
        context = getattr(error, "ctx", None)
        command = "nafdeploy" if context is None else context.command_path
        message = error.format_message()
        line, code = f"{message}{'' if message.endswith(('.', '?')) else '.'} See: {command} --help", 2
    elif isinstance(error, OSError) and error.filename is not None:  # e.g. a name that is too long for the disk
        line, code = f"{error.filename}: {error.strerror}. Check the path, or give another with -o.", 2
    else:
        line = f"unexpected {type(error).__name__}: {error} (run it again with --debug and report what it shows)"
        code = 1
    print("nafdeploy:", " ".join(line.splitlines()), file=sys.stderr)
    return code
