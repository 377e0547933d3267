"""Against the published code: NAFNet as its authors wrote it, in PyTorch and exported as it stands, and our graph.

    python -m benchmarks.published                              # nafnet-gopro-w32, 17.1 M parameters, at 256x256
    python -m benchmarks.published -o benchmarks/results/bench-published-nafnet.json
    python -m benchmarks.published --model nafnet-sidd-w32 -o benchmarks/results/bench-published-nafnet-sidd-w32.json

The published code is that of the package spandrel (`make venv` installs it); both networks have the same weights. Its
LayerNorm is written out as means and powers, where our PyTorch network calls PyTorch's own: so this is what a user of
the published network gains, and the suites, whose baseline is our network, show less.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from nafnet_deploy.benchmarks.floor import count_macs
from nafnet_deploy.benchmarks.run import run_bench
from nafnet_deploy.benchmarks.tables import against
from nafnet_deploy.checkpoints.catalogue import random_model
from nafnet_deploy.cli.bench_extras import fastest_gemm
from nafnet_deploy.cli.console import say
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.engines.registry import open_engine
from nafnet_deploy.engines.torch import TorchEngine
from nafnet_deploy.export.naive import export_naively
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from tests.oracles import spandrel_nafnet


def main() -> None:
    """Runs the rounds and prints the headlines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nafnet-gopro-w32", help="a preset that is a plain NAFNet")
    parser.add_argument("--side", type=int, default=256, help="of the picture (pixels)")
    parser.add_argument("--runs", type=int, default=25, help="rounds")
    parser.add_argument("-o", "--out", type=Path, help="JSON file of the report")
    options = parser.parse_args()
    checkpoint, shape = random_model(options.model), (1, 3, options.side, options.side)
    ours = checkpoint.network().eval()
    theirs = spandrel_nafnet(checkpoint.config).eval()
    theirs.load_state_dict(ours.state_dict())
    with TemporaryDirectory() as folder:
        naive = Path(folder) / "naive.onnx"
        export_naively(theirs, 1, shape, naive)
        bundle = export_bundle(checkpoint, ExportRecipe(output=folder))
        report = run_bench(
            {
                "published code, PyTorch eager": lambda _: TorchEngine(theirs),
                "published code, naive export on ONNX Runtime": lambda _: OnnxRuntimeEngine(str(naive)),
                "PyTorch eager": lambda _: TorchEngine(ours),
                "ONNX Runtime": lambda n: open_engine("onnxruntime", bundle, n),
                "OpenVINO": lambda n: open_engine("openvino", bundle, n),
                "OpenVINO bf16": lambda n: open_engine("openvino-bf16", bundle, n),
            },
            options.model,
            (1,),
            shape,
            options.runs,
            gemm=fastest_gemm(None),
            macs={1: count_macs(bundle.graph, shape)},
        )
    say(report.headline(1))
    say(against(report, "published code, naive export on ONNX Runtime", ["ONNX Runtime", "OpenVINO"]))
    if options.out is not None:
        options.out.write_text(report.to_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
