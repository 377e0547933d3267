"""Draws the pictures of results/ from the reports there.

python benchmarks/pictures.py
"""

from pathlib import Path

from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport
from nafnet_deploy.benchmarks.plots import plot_cost, plot_scale
from nafnet_deploy.benchmarks.report import BenchmarkReport
from nafnet_deploy.benchmarks.scale import ScaleReport

RESULTS = Path(__file__).parent / "results"


def qualities() -> dict[str, list[float]]:
    """Network -> PSNR (dB) after N = 1, 2, ..., from its evaluation at sigma 25."""
    found = {}
    for path in sorted(RESULTS.glob("eval-*-sigma25.json")):
        report = EvaluationReport.from_json(path.read_text(encoding="utf-8"), path.name)
        found[report.model] = [quality.psnr for quality in report.restored if quality.psnr is not None]
    return found


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("bench-*-iterations.json")):
        report = BenchmarkReport.from_json(path.read_text(encoding="utf-8"), path.name)
        plot_cost([report], qualities(), path.with_suffix(".png"))
        print(path.with_suffix(".png").name)
    for path in sorted(RESULTS.glob("scale-*.json")):
        plot_scale(ScaleReport.from_json(path.read_text(encoding="utf-8"), path.name), path.with_suffix(".png"))
        print(path.with_suffix(".png").name)
