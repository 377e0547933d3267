"""`nafdeploy run`: pictures in, restored pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nafnet_deploy.cli import run_options as option
from nafnet_deploy.cli.console import positive, progress, say
from nafnet_deploy.cli.run_clip import run_clip
from nafnet_deploy.cli.run_folder import run_folder
from nafnet_deploy.released import DEFAULT_MODEL

if TYPE_CHECKING:
    from nafnet_deploy.runtime.opening import Opening
    from nafnet_deploy.runtime.restorer import Restorer


def run(
    source: option.Source,
    right: option.Right = None,
    out: option.Out = None,
    model: option.Model = DEFAULT_MODEL,
    iters: option.Iters = None,
    tile: option.Tile = "auto",
    overlap: option.Overlap = None,
    memory: option.Memory = None,
    ensemble: option.Ensemble = False,
    threads: option.Threads = None,
    engine: option.EngineName = "auto",
    trust_engine: option.TrustEngine = False,
    form: option.Format = None,
    jpeg_quality: option.JpegQuality = None,
    json: option.Json = False,
    recursive: option.Recursive = False,
    pattern: option.Pattern = None,
    skip_existing: option.SkipExisting = False,
    workers: option.Workers = None,
    cluster: option.Cluster = None,
    video_codec: option.VideoCodec = None,
    crf: option.Crf = None,
    max_iters: option.MaxIters = None,
    until_delta: option.UntilDelta = None,
    budget_ms: option.BudgetMs = None,
    best_effort: option.BestEffort = False,
    quality: option.Quality = None,
    progressive: option.Progressive = False,
) -> None:
    """Restore a picture, a folder of them, a clip, or a stereo pair."""
    from nafnet_deploy.errors import ConfigError, UsageError
    from nafnet_deploy.released import find_bundle
    from nafnet_deploy.runtime.anytime import Wish
    from nafnet_deploy.runtime.batch.jobs import Encoding
    from nafnet_deploy.runtime.batch.storage import FolderPlan
    from nafnet_deploy.runtime.cluster.run import ClusterPlan
    from nafnet_deploy.runtime.files import default_target, target_suffix
    from nafnet_deploy.runtime.memory import parse_memory
    from nafnet_deploy.runtime.opening import Opening
    from nafnet_deploy.runtime.video import VIDEO_SUFFIXES

    path, target = Path(source), None if out is None else Path(out)
    if cluster is None:
        for text in (source, out or ""):
            if "://" in text:
                raise UsageError(f"{text} is a URL.", "Folders behind URLs are restored with --cluster.")
        for given in (path, *((right,) if right else ())):
            if not given.exists():
                raise UsageError(f"{given} does not exist.", "Check the path.")
    folder = cluster is not None or path.is_dir()
    clip = not folder and path.suffix.lower() in VIDEO_SUFFIXES
    if progressive and (right is not None or folder or clip):
        raise UsageError("--progressive takes one picture.", "Give a picture, or leave --progressive out.")
    if right is not None and (folder or right.is_dir()):
        raise UsageError("a stereo pair is two pictures.", "Give the pairs of folders one by one.")
    single = not (folder or clip or progressive or right is not None)
    for wrong, word, what in (
        (recursive and not folder, "--recursive", "a file"),
        (pattern is not None and not folder, "--pattern", "a file"),
        (skip_existing and not folder, "--skip-existing", "a file"),
        (workers is not None and not folder, "--workers", "a file"),
        (json and not folder and not clip, "--json", "a picture"),
        (form is not None and clip, "--format", "a clip"),
        (jpeg_quality is not None and clip, "--jpeg-quality", "a clip"),
        (video_codec is not None and not clip, "--video-codec", "no clip"),
        (crf is not None and not clip, "--crf", "no clip"),
        (memory is not None and not (single or folder), "--memory", "restored in memory alone"),
        (progressive and ensemble, "--ensemble", "shown step by step by --progressive"),
        (progressive and until_delta is not None, "--until-delta", "shown step by step by --progressive"),
        (progressive and budget_ms is not None, "--budget-ms", "shown step by step by --progressive"),
        (progressive and quality is not None, "--quality", "shown step by step by --progressive"),
    ):
        if wrong:
            raise UsageError(f"{word} does not fit {source}, which is {what}.", f"Leave {word} out.")
    bundle = find_bundle(model)
    name, stereo = bundle.manifest.name, bundle.manifest.model.views == 2
    if stereo and right is None:
        raise UsageError(f"{name} restores stereo pairs.", "Give two pictures: nafdeploy run LEFT RIGHT")
    if right is not None and not stereo:
        raise UsageError(f"{name} restores single pictures, and two were given.", "Give one at a time.")
    for value, word in (
        (iters, "--iters"),
        (max_iters, "--max-iters"),
        (threads, "--threads"),
        (workers, "--workers"),
        (jpeg_quality, "--jpeg-quality"),
    ):
        positive(value, word)
    if jpeg_quality is not None and jpeg_quality > 100:
        raise ConfigError(f"--jpeg-quality {jpeg_quality} is impossible.", "Use 1 to 100.")
    target_suffix(path, form)
    wish = Wish(iters, max_iters, until_delta, budget_ms, best_effort, quality)
    side = int(tile) if tile.isdecimal() else tile
    limit = None if memory is None else parse_memory(memory)
    opening = Opening(bundle, engine, wish, progressive, side, overlap, ensemble, limit, threads, trust_engine)
    encoding = Encoding(form, jpeg_quality)
    if cluster is not None:
        remote = "://" in source
        if remote and out is None and "/" not in source.partition("://")[2].strip("/"):
            raise UsageError(f"{source} is a whole bucket, beside which no result is put.", "Say where with -o URL.")
        result = out or (source.rstrip("/") + "_restored" if remote else str(default_target(path)))
        run_folder(
            ClusterPlan(cluster, source, result, recursive, pattern, skip_existing, encoding, workers), opening, json
        )
        return
    if folder:
        result_folder = target or _default(path, None, form)
        run_folder(
            FolderPlan(path, result_folder, recursive, pattern, skip_existing, encoding, workers or 1), opening, json
        )
        return
    if clip:
        run_clip(opening, path, target, video_codec or "h264", 18 if crf is None else crf, json)
        return
    with opening.open(say) as restorer:
        if progressive:
            _stages(restorer, path, _default(path, target, form), jpeg_quality)
        elif right is not None:
            _pair(restorer, (path, right), target, form, jpeg_quality)
        else:
            _file(restorer, path, _default(path, target, form), jpeg_quality)
        if not progressive:
            say(f"engine: {restorer.engine.name}, {_thought(restorer, opening)}")


def _thought(restorer: Restorer, opening: Opening) -> str:
    from nafnet_deploy.engines.anytime import AnytimeEngine
    from nafnet_deploy.runtime.anytime import summary

    engine = restorer.engine
    if not isinstance(engine, AnytimeEngine):
        return f"N = {opening.iterations}"
    return summary(engine.outcomes, engine.rule.max_iterations, opening.wish.until_delta)


def _default(source: Path, out: Path | None, form: str | None) -> Path:
    """The file or folder of the result."""
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.runtime.files import default_target, target_suffix

    target = default_target(source, form) if out is None else out
    if source.is_dir():
        return target
    if target.is_dir():
        return target / default_target(source, form).name
    if form is not None and target_suffix(target, form) != target.suffix:
        raise UsageError(f"{target} is not what --format {form} asks for.", "Leave one of them out.")
    return target


def _file(restorer: Restorer, source: Path, target: Path, quality: int | None) -> None:
    from nafnet_deploy.runtime.files import restore_file

    with progress() as bar:
        task = bar.add_task(source.name, total=None)
        restore_file(
            restorer, source, target, lambda done, total: bar.update(task, completed=done, total=total), quality
        )
    say(f"{source} -> {target}")


def _stages(restorer: Restorer, source: Path, target: Path, quality: int | None) -> None:
    from nafnet_deploy.runtime.files import restore_stages

    for stage, written in restore_stages(restorer, source, target, quality):
        say(f"N = {stage.iteration}: {written}, changed the picture by {stage.change:.1e}")


def _pair(
    restorer: Restorer, views: tuple[Path, Path], out: Path | None, form: str | None, quality: int | None
) -> None:
    from nafnet_deploy.errors import UsageError
    from nafnet_deploy.runtime.files import default_target, restore_pair

    if out is not None and not out.is_dir():
        raise UsageError(f"{out} is not a folder, and a pair gives two pictures.", "Give an existing folder with -o.")
    first, second = ((out or view.parent) / default_target(view, form).name for view in views)
    with progress() as bar:
        task = bar.add_task(views[0].name, total=None)
        restore_pair(
            restorer,
            views,
            (first, second),
            lambda done, total: bar.update(task, completed=done, total=total),
            quality,
        )
    say(f"{views[0]}, {views[1]} -> {first}, {second}")
