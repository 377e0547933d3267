"""The picture of a calibration: quality against time, fixed numbers of iterations and the stopping rule."""

from __future__ import annotations

from pathlib import Path

from nafnet_deploy.benchmarks.calibration_report import Calibration
from nafnet_deploy.errors import MissingDependency
from nafnet_deploy.runtime.anytime import QUALITIES

WORDS = {"last": "stop by the last change", "fixed": "fixed N"}


def draw(found: Calibration, path: Path) -> None:
    """Draws the curve as a PNG.

    Raises:
        MissingDependency: matplotlib is not installed.
        OSError: the place cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("matplotlib", "plots", "to draw the curve") from error

    figure = Figure(figsize=(8, 4.8), dpi=130, layout="constrained")
    axes = figure.subplots()
    for rule, style, colour, width in (
        ("last", "-", "#1b7837", 1.5),
        ("fixed", "o", "#333333", 1.5),
    ):
        points = [p for p in found.points if p.rule == rule]
        axes.plot(
            [p.milliseconds for p in points], [p.psnr for p in points], style, color=colour, label=WORDS[rule], lw=width
        )
    for p in found.points:
        if p.rule == "fixed":
            axes.annotate(
                f"N = {p.threshold:.0f}", (p.milliseconds, p.psnr), (4, -13), textcoords="offset points", fontsize=9
            )
    words: dict[float, list[str]] = {}
    for quality in QUALITIES:
        words.setdefault(found.chosen(quality).milliseconds, []).append(quality)
    for place, names in words.items():
        axes.axvline(place, color="#888888", lw=0.8, ls=":")
        axes.text(
            place,
            1.01,
            ", ".join(names),
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=9,
            color="#444444",
        )
    axes.margins(x=0.1, y=0.12)
    axes.set_xlabel(f"mean time of the network (ms, {found.shape[0]}x{found.shape[1]}, {found.engine})")
    axes.set_ylabel(f"mean PSNR against {found.against} (dB)")
    figure.suptitle(f"{found.model}: {found.pictures} pictures", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, format="png")
