"""`nafdeploy serve`: a model behind HTTP, and a page to look at."""

from __future__ import annotations

import math

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, say
from nafnet_deploy.released import DEFAULT_MODEL


def serve(
    model: str = typer.Option(DEFAULT_MODEL, "-m", "--model", help="A released model or an exported .onnx file."),
    host: str = typer.Option("127.0.0.1", help="Address to listen at; 0.0.0.0 for all of this machine."),
    port: int = typer.Option(8000, help="Port; 0 for any that is free."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N of requests that name none."),
    concurrency: int = typer.Option(32, help="Requests in work or waiting; one more gets 503."),
    max_body: int = typer.Option(64, help="Largest body of a request (MiB)."),
    max_pixels: float = typer.Option(50, help="Largest picture, and most that is decoded at a time (megapixels)."),
    batch: int = typer.Option(8, help="Most pictures or tiles of one shape that run together."),
    wait_ms: float = typer.Option(4.0, help="How long the first of a batch waits for others (ms)."),
    body_seconds: float = typer.Option(60.0, help="A body must have come by then."),
    idle_seconds: float = typer.Option(10.0, help="Longest pause of a client that sends or reads."),
    stop_seconds: int = typer.Option(60, help="How long requests in work may take after SIGTERM."),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option("auto", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
) -> None:
    """Serve a model over HTTP, and a page for the browser. POST a picture to /restore, or look at /."""
    from nafnet_deploy.errors import ConfigError, MissingDependency
    from nafnet_deploy.released import find_bundle

    try:
        from nafnet_deploy.serving.run import serve as run_server
        from nafnet_deploy.serving.settings import Settings
    except ImportError as error:
        raise MissingDependency(error.name or "fastapi", "serve", "to serve a model") from error

    if not math.isfinite(max_pixels):
        raise ConfigError(f"--max-pixels {max_pixels} is impossible.", "Give a number of megapixels.")
    settings = Settings(
        max_body=max_body * 2**20,
        max_pixels=int(max_pixels * 1e6),
        concurrency=concurrency,
        batch=batch,
        wait_ms=wait_ms,
        body_seconds=body_seconds,
        idle_seconds=idle_seconds,
        stop_seconds=stop_seconds,
        iterations=iters,
        engine=engine,
        trust_engine=trust_engine,
        threads=threads,
    )
    run_server(find_bundle(model), host, port, settings, say)
