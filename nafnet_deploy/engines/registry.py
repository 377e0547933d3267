"""The engines by name; an engine's packages are imported when it is opened."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Protocol, cast

from nafnet_deploy.config import nearest
from nafnet_deploy.engines.base import Engine
from nafnet_deploy.errors import ConfigError, MissingDependency
from nafnet_deploy.manifest import Bundle


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where an engine lives."""

    target: str
    """`module:class` inside this package; the class has `open(bundle, iterations, threads)`."""
    extra: str
    """The extra of this distribution that brings its packages."""


ENGINES = {"onnxruntime": Entry("nafnet_deploy.engines.onnxruntime:OnnxRuntimeEngine", "cpu")}
"""Every engine there is."""


class _Opener(Protocol):
    def open(self, bundle: Bundle, iterations: int | None, threads: int | None) -> Engine: ...


def open_engine(name: str, bundle: Bundle, iterations: int | None = None, threads: int | None = None) -> Engine:
    """Opens a bundle in the engine of that name.

    Args:
        name: a key of `ENGINES`.
        bundle: what `open_bundle` returned.
        iterations: reasoning iterations; None for all that the graph has.
        threads: CPU threads; None leaves the choice to the engine.

    Raises:
        ConfigError: an unknown engine, or iterations or threads below 1.
        MissingDependency: the engine's package is not installed.
        EngineError: the graph cannot be loaded or has fewer iterations.
    """
    if name not in ENGINES:
        raise ConfigError(f"the engine {name!r} is unknown.", nearest(name, ENGINES))
    entry = ENGINES[name]
    module, _, attribute = entry.target.partition(":")
    try:
        opener = cast(_Opener, getattr(importlib.import_module(module), attribute))
    except ImportError as error:
        package = error.name or name
        raise MissingDependency(package, entry.extra, f"by the engine {name!r}") from error
    return opener.open(bundle, iterations, threads)
