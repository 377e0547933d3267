"""`nafdeploy compare`: one picture of what each iteration does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP, positive, progress, say
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from nafnet_deploy.engines.gates import GateEngine
    from nafnet_deploy.manifest import Bundle
    from nafnet_deploy.runtime.compare import Region


def compare(
    source: Path = typer.Argument(..., metavar="IMAGE", help="A picture."),
    out: Path | None = typer.Option(None, "-o", "--out", help="File or folder of the result. (default: beside IMAGE)"),
    model: str = typer.Option(DEFAULT_MODEL, "-m", "--model", help="A released model or an exported .onnx file."),
    clean: Path | None = typer.Option(None, help="What IMAGE should look like, for PSNR."),
    sigma: float | None = typer.Option(
        None, help="Gaussian noise to add to IMAGE, in steps of 255; IMAGE itself is then the reference."
    ),
    seed: int | None = typer.Option(None, help="Seed of that noise. (default: 0)"),
    iters: int | None = typer.Option(None, help="Largest N; 1 to N are shown. (default: all of the graph)"),
    crop: str | None = typer.Option(None, help="X,Y,W,H of the part to show (pixels). (default: the most changed)"),
    threads: int | None = typer.Option(None, help="CPU threads. (default: one per core)"),
    engine: str = typer.Option("auto", help=ENGINE_HELP),
    trust_engine: bool = typer.Option(False, "--trust-engine", help=TRUST_HELP),
) -> None:
    """Draw what each iteration does to a picture. Results, changes and gates of 1 to N iterations, side by side."""
    from nafnet_deploy.engines.cut import check_iterations
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.errors import ConfigError
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.compare import compare as run_comparison
    from nafnet_deploy.runtime.compare_file import noisy, read_pair, target_of, write_sheet
    from nafnet_deploy.runtime.sheet import PANEL, draw_sheet

    positive(threads, "--threads")
    if sigma is None and seed is not None:
        raise ConfigError(f"--seed {seed} is that of noise, and none is added.", "Add --sigma, or leave --seed out.")
    region = None if crop is None else _region(crop)
    bundle = find_bundle(model)
    largest = positive(iters, "--iters") or bundle.manifest.iterations
    check_iterations(bundle.manifest, largest)
    only = iterations_of(engine)
    steps = range(1, largest + 1) if only is None else (only,)
    picture, reference = read_pair(source, clean, sigma)
    target = target_of(source, clean, out)
    pixels = picture.pixels if sigma is None else noisy(picture.pixels, sigma, seed or 0)
    notes: dict[str, None] = {}  # each once, though every engine that is opened may say it
    with progress() as bar:
        task = bar.add_task(source.name, total=None)
        result = run_comparison(
            pixels,
            reference,
            bundle.manifest,
            steps,
            lambda n: open_engine(engine, bundle, n, threads, trust_engine, lambda note: notes.update({note: None})),
            _gates(bundle, steps[0], threads),
            region,
            PANEL,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for note in notes:
        say(note)
    shown, (height, width) = result.region, result.size
    parts = [] if sigma is None else [f"noise of sigma {sigma:g} added, seed {seed or 0}"]
    parts += [] if clean is None else [f"reference {clean.name}"]
    part = f"{shown.width}x{shown.height} pixels at {shown.x},{shown.y} of {width}x{height}"
    parts.append(f"{width}x{height} pixels" if (shown.height, shown.width) == result.size else part)
    write_sheet(draw_sheet(result, f"{bundle.manifest.name} on {source.name}", "; ".join(parts)), source, target)
    for column in result.columns:
        score = "" if column.psnr is None else f"{column.psnr:.3f} dB, "
        say(f"N = {column.iterations}: {score}{column.seconds:.3f} s")
    say(f"{source} -> {target}")
    say(f"engine: {result.engine}")


def _gates(bundle: Bundle, first: int, threads: int | None) -> Callable[[int], GateEngine] | None:
    """What opens the gates; None, with a line that says why, where a network with reasoning cannot show them."""
    from nafnet_deploy.engines.gates import GateEngine
    from nafnet_deploy.errors import EngineError, MissingDependency

    if not bundle.manifest.model.positions:
        return None
    try:
        GateEngine.open(bundle, first, threads).close()
    except (EngineError, MissingDependency) as error:
        say(f"the gates are left out: {error}")
        return None
    return lambda n: GateEngine.open(bundle, n, threads)


def _region(crop: str) -> Region:
    from nafnet_deploy.errors import ConfigError
    from nafnet_deploy.runtime.compare import Region

    numbers = crop.split(",")
    if len(numbers) != 4 or not all(n.strip().isdecimal() and len(n) < 10 for n in numbers):
        raise ConfigError(f"--crop {crop} is not a region.", "Give X,Y,W,H in pixels, e.g. --crop 0,0,64,64.")
    return Region(*(int(n) for n in numbers))
