"""Keeps what a calibration found with its bundle."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from nafnet_deploy.benchmarks.calibration_plot import draw
from nafnet_deploy.benchmarks.calibration_report import Calibration
from nafnet_deploy.errors import UsageError
from nafnet_deploy.manifest import Bundle, bundle_file


def store(found: Calibration, bundle: Bundle) -> tuple[Path, Path]:
    """Writes the thresholds into the bundle's manifest and the curve beside it.

    Returns:
        The manifest and the picture.

    Raises:
        UsageError: the folder cannot be written to.
        MissingDependency: matplotlib, which draws the curve, is not installed.
    """
    manifest = bundle_file(bundle.graph, ".json")
    picture = bundle_file(bundle.graph, ".calibration.png")
    unfinished = [path.with_name(path.name + ".part") for path in (manifest, picture)]
    try:
        draw(found, unfinished[1])
        text = dataclasses.replace(bundle.manifest, stopping=found.stopping).to_json()
        unfinished[0].write_text(text, encoding="utf-8")
        unfinished[1].replace(picture)
        unfinished[0].replace(manifest)
    except OSError as error:
        raise UsageError(
            f"{manifest.parent} cannot be written to: {error.strerror}.", "Copy the bundle to a folder of your own."
        ) from error
    finally:
        for path in unfinished:
            with contextlib.suppress(OSError):
                path.unlink()
    return manifest, picture
