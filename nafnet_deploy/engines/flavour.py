"""The two libraries that one builder and one runner serve, and what sets them apart."""

from __future__ import annotations

import dataclasses
import importlib
import re
from importlib import metadata
from typing import Any

from nafnet_deploy.errors import ConfigError, MachineError, MissingDependency
from nafnet_deploy.tables import nearest


@dataclasses.dataclass(frozen=True)
class Flavour:
    """A library of the TensorRT family."""

    target: str
    """Its name on the command line and in file names."""
    title: str
    """Its name in sentences."""
    package: str
    """What Python imports."""
    oldest: tuple[int, int]
    """First version with all that the builder uses."""
    builds_for_others: bool
    """Builds for chosen compute capabilities without a GPU; otherwise for the GPU it runs on, and needs one."""
    timing_cache: bool
    """Whether a timing cache saves time. TensorRT-RTX times nothing while it builds: it accepts one and ignores it."""


FLAVOURS = {
    "tensorrt": Flavour("tensorrt", "TensorRT", "tensorrt", (10, 12), False, True),
    "tensorrt-rtx": Flavour("tensorrt-rtx", "TensorRT-RTX", "tensorrt_rtx", (1, 0), True, False),
}
"""By target."""


def flavour(target: str) -> Flavour:
    """The flavour of that target.

    Raises:
        ConfigError: an unknown target.
    """
    if target not in FLAVOURS:
        raise ConfigError(f"the target {target!r} is unknown.", nearest(target, FLAVOURS))
    return FLAVOURS[target]


def load_library(target: str) -> Any:
    """Imports the library of a target and returns its module.

    Raises:
        ConfigError: an unknown target.
        MissingDependency: it is not installed.
        MachineError: it is installed and cannot be loaded, or is too old.
    """
    wanted = flavour(target)
    try:
        module = importlib.import_module(wanted.package)
    except Exception as error:  # a missing native library shows as ImportError, OSError, RuntimeError, ...
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("tensorrt"):
            raise MissingDependency(wanted.package, target, f"by the target {target!r}") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MachineError(
            f"{wanted.package} is installed and cannot be loaded: {reason}.",
            f"Reinstall it: pip install --force-reinstall 'nafnet-deploy[{target}]'",
        ) from error
    version = str(module.__version__)
    found = tuple(int(digits) for digits in re.findall(r"\d+", version)[:2])
    if found < wanted.oldest:
        raise MachineError(
            f"{wanted.title} {version} is too old: {'.'.join(map(str, wanted.oldest))} or newer is needed.",
            f"Update it: pip install -U 'nafnet-deploy[{target}]'",
        )
    return module


def cuda_of_wheel(target: str) -> str:
    """Major CUDA version the installed wheel was made for, from its name (`...-cu13`); empty when it does not say."""
    name = flavour(target).package.replace("_", "-")
    for major in ("13", "12", "11"):
        try:
            metadata.version(f"{name}-cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return major
    return ""
