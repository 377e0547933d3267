"""The options of `nafdeploy run`, in the groups that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nafnet_deploy.cli.console import ENGINE_HELP, TRUST_HELP

STEPS, FOLDERS, WRITING, CLIPS = "Split bundles", "Folders", "Results", "Clips"

Source = Annotated[
    str,
    typer.Argument(metavar="IMAGE|DIR|CLIP|LEFT", help="A picture, folder, clip, or left view of a stereo pair."),
]
Right = Annotated[Path | None, typer.Argument(metavar="[RIGHT]", help="The right view, for a stereo network.")]
Out = Annotated[
    str | None, typer.Option("-o", "--out", help="File or folder of the result. (default: beside the input)")
]
Model = Annotated[str, typer.Option("-m", "--model", help="A released model or an exported .onnx file.")]
Iters = Annotated[int | None, typer.Option(help="Reasoning iterations N. (default: the model's)")]
Tile = Annotated[str, typer.Option(help="auto, off, or the side of a square tile in pixels.")]
Overlap = Annotated[int | None, typer.Option(help="Pixels that tiles share. (default: the model's)")]
Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory that the whole run may take, e.g. 1500MB; a picture that needs more is restored in parts."
    ),
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble", help="Mean over the 8 flips and turns of the picture: a little better, 8 times the work."
    ),
]
Threads = Annotated[int | None, typer.Option(help="CPU threads. (default: one per core)")]
EngineName = Annotated[str, typer.Option("--engine", help=ENGINE_HELP)]
TrustEngine = Annotated[bool, typer.Option("--trust-engine", help=TRUST_HELP)]

MaxIters = Annotated[
    int | None,
    typer.Option(
        help="At most so many iterations. (default: those proved, with --quality those calibrated)",
        rich_help_panel=STEPS,
    ),
]
UntilDelta = Annotated[
    float | None,
    typer.Option(
        help="Stop when an iteration changes the picture by less (root mean square; white is 1).", rich_help_panel=STEPS
    ),
]
BudgetMs = Annotated[
    float | None,
    typer.Option(
        help="Milliseconds for the network per picture; reading and writing come on top.", rich_help_panel=STEPS
    ),
]
BestEffort = Annotated[
    bool,
    typer.Option("--best-effort", help="Run one iteration even if the budget is too small.", rich_help_panel=STEPS),
]
Quality = Annotated[
    str | None, typer.Option(help="fast, balanced or best, of a calibrated bundle.", rich_help_panel=STEPS)
]
Progressive = Annotated[
    bool,
    typer.Option(
        "--progressive", help="Write the picture of every iteration, NAME_n1, NAME_n2, ...", rich_help_panel=STEPS
    ),
]

Recursive = Annotated[
    bool, typer.Option("--recursive", help="Also the pictures of the folders below.", rich_help_panel=FOLDERS)
]
Pattern = Annotated[
    str | None, typer.Option(help="Only pictures whose name matches, e.g. '*_raw.png'.", rich_help_panel=FOLDERS)
]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave out pictures whose result is there.", rich_help_panel=FOLDERS),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes with one engine each. (default: 1; all cores of a cluster)", rich_help_panel=FOLDERS),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Restore on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT or local. DIR and -o may be URLs.",
        rich_help_panel=FOLDERS,
    ),
]

Format = Annotated[
    str | None,
    typer.Option("--format", help="jpg, png, tif or webp. (default: the input's)", rich_help_panel=WRITING),
]
JpegQuality = Annotated[
    int | None,
    typer.Option(help="Quality of JPEG and WebP results, 1 to 100. (default: 95)", rich_help_panel=WRITING),
]
Json = Annotated[
    bool, typer.Option("--json", help="A summary in JSON on stdout, of a folder or clip.", rich_help_panel=WRITING)
]

VideoCodec = Annotated[str | None, typer.Option(help="h264 or hevc. (default: h264)", rich_help_panel=CLIPS)]
Crf = Annotated[
    int | None,
    typer.Option(help="Constant rate factor: 0 loses nothing, 51 nearly all. (default: 18)", rich_help_panel=CLIPS),
]
