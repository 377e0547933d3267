"""What a build is told: GPUs, sizes, limits, flags. Everything set is read back, because refusals are silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.build_spec import BuildSpec
from nafnet_deploy.errors import EngineError, ExportError


def configure(module: Any, builder: Any, config: Any, network: Any, spec: BuildSpec, recipe: BuildRecipe) -> Any | None:
    """Fills the builder's configuration in; returns the timing cache in use, if any.

    Raises:
        EngineError: a GPU that this version of the library does not build for.
        ExportError: the library refused a setting.
    """
    config.clear_flag(module.BuilderFlag.TF32)  # on by default, and 10 bits of mantissa are not FP32
    _need(not config.get_flag(module.BuilderFlag.TF32), "to compute in FP32 without TF32")
    if spec.gpus and hasattr(module, "ComputeCapability"):
        _choose_gpus(module, config, spec.gpus)
    if spec.dynamic:
        _add_profile(builder, config, spec)
    if spec.workspace is not None:
        pool, limit = module.MemoryPoolType.WORKSPACE, spec.workspace * 2**20
        config.set_memory_pool_limit(pool, limit)
        _need(config.get_memory_pool_limit(pool) == limit, f"a workspace of {spec.workspace} MiB")
    return _timing_cache(config, Path(recipe.timing_cache)) if recipe.timing_cache else None


def flags_of(module: Any, config: Any) -> tuple[str, ...]:
    """Names of the build flags that are on."""
    return tuple(name for name, flag in module.BuilderFlag.__members__.items() if config.get_flag(flag))


def _choose_gpus(module: Any, config: Any, gpus: tuple[str, ...]) -> None:
    members = module.ComputeCapability.__members__
    if missing := [name for name in gpus if name.upper() not in members]:
        raise EngineError(
            f"{module.__name__} {module.__version__} does not build for {missing[0]}.",
            f"It knows {', '.join(sorted(n.lower() for n in members if n.startswith('SM')))}.",
        )
    config.num_compute_capabilities = len(gpus)
    for index, name in enumerate(gpus):
        _need(config.set_compute_capability(members[name.upper()], index), f"to build for {name}")
    built = tuple(config.get_compute_capability(i).name.lower() for i in range(config.num_compute_capabilities))
    _need(built == gpus, f"to build for {', '.join(gpus)}")


def _add_profile(builder: Any, config: Any, spec: BuildSpec) -> None:
    profile = builder.create_optimization_profile()
    for wanted in spec.profiles:
        shapes = (wanted.min, wanted.opt, wanted.max)
        try:
            profile.set_shape(wanted.input, *shapes)
        except ValueError as error:
            raise ExportError(f"the library refused the shapes {shapes}: {error}.", "Choose others.") from error
        _need([tuple(s) for s in profile.get_shape(wanted.input)] == list(shapes), f"the shapes {shapes}")
    _need(config.add_optimization_profile(profile) >= 0, f"the shapes {spec.profiles}")  # -1 where others raise


def _timing_cache(config: Any, path: Path) -> Any:
    try:
        cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}.", "Choose another --timing-cache.") from error
    _need(cache is not None, f"the timing cache {path}")
    _need(config.set_timing_cache(cache, ignore_mismatch=False), f"the timing cache {path}, made on another machine")
    return cache


def save_timing_cache(cache: Any, path: Path) -> None:
    """Writes the timings that the build added, whole or not at all.

    Raises:
        ExportError: the disk is full or the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(bytes(cache.serialize()))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ExportError(f"{path} could not be written: {error.strerror}.", "Choose another file.") from error


def _need(accepted: bool, what: str) -> None:
    if not accepted:
        raise ExportError(f"the library refused {what}.", "Leave that option out, or use another version.")
