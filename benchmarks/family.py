"""Measures every preset: parity of both precisions, speed against PyTorch eager, TensorRT-RTX plans.

    OMP_NUM_THREADS=1 python benchmarks/family.py                # what the result lacks, smallest network first
    python benchmarks/family.py --only restormer --again         # one network anew
    python benchmarks/family.py --table                          # counts and the table alone, in a minute

Every precision of a network is exported and measured in a process of its own, and its plan is built in another; then
the result is written, so the work may be stopped and started at any time. A stage that fails or passes `--limit` is
written down with its reason. Presets of one configuration share their figures.
The table goes into docs/family.md. Weights are random (`checkpoints.catalogue.random_model`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nafnet_deploy.benchmarks.cards import fill
from nafnet_deploy.benchmarks.family import FamilyReport, Measurement, NetworkFigures, PlanFigures, Speed
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.environment import read_environment
from nafnet_deploy.presets import PRESETS
from nafnet_deploy.tables import plain, read_table

ROOT = Path(__file__).parent.parent
RESULT, DOC = ROOT / "benchmarks/results/family.json", ROOT / "docs/family.md"
SIDES = (256, 128, 64, 32)
"""Sides (pixels) at which speed may be measured."""
MOST_GMACS = 4.0
"""The largest of them at which one picture needs no more multiply-adds (10^9) is taken, or the smallest."""
ROUNDS, WARMUP = 5, 1
FREE = (2, 32, 48)
"""Batch, height and width (pixels, raised to the size multiple) of a further input for parity."""
ORACLE_SIDE = 16
"""Side (pixels, raised to the size multiple) at which the oracle, which is slow, is asked."""
GPU = "sm86"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PRESETS, metavar="PRESET", help="these networks alone")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds of a stage")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--doc", type=Path, default=DOC)
    parser.add_argument("--stage", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        name, stage, folder = options.stage
        try:
            found = build(Path(folder)) if stage == "plan" else measure(name, stage, Path(folder))
        except Exception as error:  # the parent writes it into the table
            raise SystemExit(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from None
        print(json.dumps(plain(found)))
        return
    networks = known(options.result)
    write(networks, options.result, options.doc)
    if options.table:
        return
    for name in sorted(options.only or networks, key=lambda name: networks[name].gmacs):
        if networks[name].same_as:
            continue
        for precision, wanted in (("fp32", ("parity", "speed", "plan_fp32")), ("fp16", ("half", "plan_fp16"))):
            if not options.again and all(getattr(networks[name], field) is not None for field in wanted):
                continue
            found = stages(name, precision, options.limit)
            print(name, precision, json.dumps(plain(found)), flush=True)
            networks = known(options.result)  # another run may have added to it
            networks[name] = dataclasses.replace(networks[name], **found)
            write(networks, options.result, options.doc)


def known(result: Path) -> dict[str, NetworkFigures]:
    """Every preset with what the result holds of it; parameters and multiply-adds are counted where it lacks them."""
    before = {n.name: n for n in FamilyReport.from_json(result.read_text()).networks} if result.exists() else {}
    first: dict[ModelConfig, str] = {}
    networks = {}
    for name, preset in PRESETS.items():
        twin = first.setdefault(preset.config, name)
        if name not in before or before[name].same_as != (twin if twin != name else ""):
            from nafnet_deploy.models.counting import count

            counts = count(preset.config, 256, 256)
            before[name] = NetworkFigures(name, counts.parameters, round(counts.macs / 1e9, 3))
        networks[name] = before[name] if twin == name else dataclasses.replace(networks[twin], name=name, same_as=twin)
    return networks


def write(networks: dict[str, NetworkFigures], result: Path, doc: Path) -> None:
    """Result and table, with the figures of twins brought up to date."""
    rows = [
        dataclasses.replace(networks[n.same_as], name=n.name, same_as=n.same_as) if n.same_as else n
        for n in networks.values()
    ]
    report = FamilyReport(tuple(rows), read_environment(threads=1))
    for path, text in ((result, report.to_json()), (doc, fill(doc.read_text(), report.markdown() + "\n"))):
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def stages(name: str, precision: str, limit: float) -> dict[str, Measurement | Speed | PlanFigures]:
    """All figures of one precision of a network; a stage that fails gives its reason."""
    plan = f"plan_{precision}"
    with TemporaryDirectory() as folder:
        table, failure = _run([sys.executable, __file__, "--stage", name, precision, folder], limit)
        if failure:
            missing = PlanFigures(None, failure="no graph")
            if precision == "fp16":
                return {"half": Measurement(None, "", failure), plan: missing}
            return {"parity": Measurement(None, "", failure), "speed": Speed((), (), "", failure), plan: missing}
        kinds = {"parity": Measurement, "half": Measurement, "speed": Speed}
        found = {key: read_table(kinds[key], value, key) for key, value in table.items()}
        built, failure = _run([sys.executable, __file__, "--stage", name, "plan", folder], limit)
        found[plan] = PlanFigures(None, failure=failure) if failure else read_table(PlanFigures, built, plan)
        return found


def _run(command: list[str], limit: float) -> tuple[dict[str, Any], str]:
    """What a process prints as JSON in its last line, and why it failed: the last line of its stderr."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {}, f"took more than {limit:g} s"
    if done.returncode:
        return {}, (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1].strip()
    return json.loads(done.stdout.splitlines()[-1]), ""


def build(folder: Path) -> PlanFigures:
    """The plan of the only graph in the folder as `nafdeploy build --gpu` makes it; runs in a process of its own."""
    from nafnet_deploy.benchmarks.process_cost import peak_mib
    from nafnet_deploy.engines.build import run_build
    from nafnet_deploy.engines.build_recipe import BuildRecipe
    from nafnet_deploy.engines.flavour import load_library
    from nafnet_deploy.released import find_bundle

    (graph,) = folder.glob("*.onnx")
    recipe = BuildRecipe(gpus=(GPU,), output=str(folder))
    manifest = run_build(find_bundle(graph), recipe, load_library(recipe.target)).file.manifest
    batch, _, height, width = manifest.profiles[0].max
    peak = peak_mib()
    return PlanFigures(
        manifest.plan_bytes, manifest.seconds, None if peak is None else int(peak * 2**20), f"{batch}x{height}x{width}"
    )


def measure(name: str, precision: str, folder: Path) -> dict[str, Any]:
    """Exports `<folder>/<precision>.onnx` and measures it; runs in a process of its own."""
    import torch

    from nafnet_deploy.checkpoints.catalogue import random_model
    from nafnet_deploy.export import run as exporting
    from nafnet_deploy.export.recipe import ExportRecipe
    from nafnet_deploy.manifest import Bundle
    from nafnet_deploy.parity.run import ORACLE, Pictures, run_parity

    torch.set_num_threads(1)
    checkpoint = random_model(name)
    config, steps = checkpoint.config, (checkpoint.config.iterations,)

    def up(side: int) -> int:
        return -(-side // config.size_multiple) * config.size_multiple

    timed = (1, config.planes, *[_timed_side(config)] * 2)
    free = (FREE[0], config.planes, up(FREE[1]), up(FREE[2]))
    small = (1, config.planes, *[up(ORACLE_SIDE)] * 2)

    # The export's own proof takes pictures on which the largest networks would be busy for an hour.
    def full(bundle: Bundle, network: Pictures) -> dict[str, float]:
        return {"value": run_parity(bundle, network, steps, (free, timed), "onnxruntime", threads=1).max_abs_error}

    def half(bundle: Bundle, network: Pictures, *rest: object) -> dict[str, float]:
        return {"value": run_parity(bundle, network, steps, (small,), ORACLE).min_psnr}

    exporting.prove, exporting.prove_half = full, half
    recipe = ExportRecipe(precision=precision, output=str(folder / f"{precision}.onnx"))
    bundle = exporting.export_bundle(checkpoint, recipe)
    value = bundle.manifest.parity["value"]
    if precision == "fp16":
        return {"half": Measurement(value, _shape(small))}
    return {
        "parity": Measurement(value, f"{_shape(free)}, {_shape(timed)}"),
        "speed": _speed(checkpoint.network(), config, bundle, timed),
    }


def _timed_side(config: ModelConfig) -> int:
    from nafnet_deploy.models.counting import count

    fits = [side for side in SIDES if count(config, side, side).macs <= MOST_GMACS * 1e9]
    return max(fits, default=SIDES[-1])


def _speed(network: Any, config: ModelConfig, bundle: Any, shape: tuple[int, ...]) -> Speed:
    from nafnet_deploy.benchmarks.timing import time_interleaved
    from nafnet_deploy.engines.base import restore_batch
    from nafnet_deploy.engines.registry import open_engine
    from nafnet_deploy.engines.torch import TorchEngine
    from nafnet_deploy.models.registry import picture
    from nafnet_deploy.parity.inputs import natural_batch

    x = natural_batch(shape, 0)
    eager = TorchEngine(lambda batch: picture(network.eval(), batch, config.iterations), config.planes)
    with open_engine("onnxruntime", bundle, threads=1) as engine:
        calls = {"torch": lambda: restore_batch(eager, x), "onnxruntime": lambda: restore_batch(engine, x)}
        times = time_interleaved(calls, ROUNDS, WARMUP, pause=0.02)
    in_ms = {key: tuple(round(t / 1e6, 3) for t in values) for key, values in times.items()}
    return Speed(in_ms["torch"], in_ms["onnxruntime"], _shape(shape))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    main()
