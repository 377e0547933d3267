"""`nafdeploy build`: ONNX bundle in, TensorRT plan out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nafnet_deploy.cli.console import progress, say
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.engines.build import Built
    from nafnet_deploy.engines.build_spec import BuildSpec
    from nafnet_deploy.engines.plan import PlanManifest
    from nafnet_deploy.engines.tensorrt_parts_build import BuiltParts


def build(
    bundle: str = typer.Argument(DEFAULT_MODEL, help="A released model or an exported .onnx file."),
    target: str | None = typer.Option(None, help="tensorrt-rtx or tensorrt. (default: tensorrt-rtx)"),
    gpu: str | None = typer.Option(
        None, help="sm86, a list sm86,sm89, or portable. (default: portable; for tensorrt this machine's)"
    ),
    min_shape: str | None = typer.Option(None, help="Smallest input, HxW or BxHxW. (default: one size multiple)"),
    opt_shape: str | None = typer.Option(None, help="The input to be fastest at. (default: 256x256)"),
    max_shape: str | None = typer.Option(None, help="Largest input. (default: restores 1080x1920)"),
    workspace: int | None = typer.Option(None, help="Upper bound on the plan's scratch memory (MiB)."),
    gpu_memory: float | None = typer.Option(None, help="Memory of the GPU that will run it (GiB)."),
    timing_cache: str | None = typer.Option(None, help="File that keeps TensorRT's timings from build to build."),
    iters: int | None = typer.Option(None, help="Reasoning iterations N in the plan. (default: the model's)"),
    recipe: Path | None = typer.Option(None, help="TOML recipe, e.g. engines/rtx-3090.toml; options win over it."),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Folder, or a name ending with .engine. (default: engines)"
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be built and stop."),
    json_out: bool = typer.Option(False, "--json", help="Print the plan's manifest as JSON on stdout."),
) -> None:
    """Build a TensorRT plan, and compare it with what was asked for. A manifest is written beside it.

    A split bundle gets a plan for each of its parts and one manifest.
    """
    from nafnet_deploy.engines.build import run_build, target_path
    from nafnet_deploy.engines.build_recipe import read_build_recipe
    from nafnet_deploy.engines.flavour import load_library
    from nafnet_deploy.engines.gpus import read_gpus
    from nafnet_deploy.engines.tensorrt_builder import check_machine, resolve
    from nafnet_deploy.engines.tensorrt_parts_build import build_parts
    from nafnet_deploy.released import find_bundle

    wanted = read_build_recipe(
        recipe,
        {
            "target": target,
            "gpus": None if gpu is None else read_gpus(gpu),
            "min_shape": min_shape,
            "opt_shape": opt_shape,
            "max_shape": max_shape,
            "workspace": workspace,
            "gpu_memory": gpu_memory,
            "timing_cache": timing_cache,
            "iterations": iters,
            "output": out,
        },
    )
    found = find_bundle(bundle)
    spec, device = resolve(found, wanted)
    if dry_run:
        _announce(spec, target_path(spec, wanted), json_out)
        return
    check_machine(wanted, device)  # before the library: installing it would not help a machine without its GPU
    library = load_library(wanted.target)
    with progress() as bar:
        task = bar.add_task("build", total=100)

        def advance(phase: str, share: float) -> None:
            bar.update(task, description=phase, completed=int(100 * share))

        if found.manifest.parts:
            parts = build_parts(found, wanted, library, advance)
        else:
            built = run_build(found, wanted, library, advance)
    if found.manifest.parts:
        _report_parts(parts, json_out)
    else:
        _report(built, json_out)


def _announce(spec: BuildSpec, path: Path, json_out: bool) -> None:
    from nafnet_deploy.tables import plain

    if json_out:
        print(json.dumps({"path": str(path), **plain(spec)}, indent=1, sort_keys=True))
        return
    say(f"would build {path}")
    count = f"{spec.iterations} iterations" if spec.iterations else "head, step and tail"
    say(f"  {count}, {spec.precision}, {spec.target} for {_machines(spec.gpus, spec.target)}")
    for profile in spec.profiles:
        say(f"  {profile.input}: min {_side(profile.min)}, opt {_side(profile.opt)}, max {_side(profile.max)}")
    say(
        f"  about {spec.activation_bytes / 2**20:.0f} MiB of activations at max, "
        f"of {spec.gpu_memory / 2**30:.0f} GiB on the GPU"
    )


def _report(built: Built, json_out: bool) -> None:
    from nafnet_deploy.tables import plain

    manifest = built.file.manifest
    if json_out:
        table = {"path": str(built.file.path), "reused": built.reused, **plain(manifest)}
        print(json.dumps(table, indent=1, sort_keys=True))
        return
    how = "was there already" if built.reused else f"built in {manifest.seconds:.1f} s"
    say(f"{built.file.path} ({manifest.plan_bytes / 1e6:.1f} MB) {how}")
    say(f"{_read_back(manifest)}, {manifest.iterations} iterations, for {_machines(manifest.gpus, manifest.target)}")


def _report_parts(built: BuiltParts, json_out: bool) -> None:
    from nafnet_deploy.tables import plain

    manifest = built.file.manifest
    if json_out:
        table = {"path": str(built.file.path), "reused": built.reused, **plain(manifest)}
        print(json.dumps(table, indent=1, sort_keys=True))
        return
    for name, part in manifest.plans.items():
        say(f"{built.file.plan(name)} ({part.plan_bytes / 1e6:.1f} MB): {_read_back(part)}")
    how = "were there already" if built.reused else f"built in {sum(p.seconds for p in manifest.plans.values()):.1f} s"
    size = sum(part.plan_bytes for part in manifest.plans.values()) / 1e6
    say(
        f"{built.file.path}: {size:.1f} MB of plans for any number of iterations {how}, "
        f"for {_machines(manifest.gpus, manifest.target)}"
    )


def _read_back(manifest: PlanManifest) -> str:
    """Says what the library warned of; returns what was read back, in words."""
    for warning in manifest.warnings:
        say(f"warning of {manifest.target}: {warning}")
    half = manifest.layers.get("float16", 0)
    return f"read back: {manifest.precision_built}, {half} of {sum(manifest.layers.values())} layers in half"


def _machines(gpus: tuple[str, ...], target: str) -> str:
    if gpus:
        return ", ".join(gpus)
    return "any GPU from sm80 on" if target == "tensorrt-rtx" else "this machine's GPU"


def _side(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
