"""`nafdeploy inspect`: what a file is."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def inspect(file: Path = typer.Argument(..., help="A checkpoint (.safetensors, .pth) or a graph (.onnx).")) -> None:
    """Say what a checkpoint or bundle is, as JSON on stdout."""
    from nafnet_deploy.inspect import describe

    print(json.dumps(describe(file), indent=2))
