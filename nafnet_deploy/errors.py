"""Every error a user can meet, in one tree.

    NafdeployError                    exit 1   something we did not foresee
    ├── UsageError                    exit 2   a bad option, file, picture or recipe
    │   ├── ConfigError                        an impossible or unknown setting
    │   ├── ImageError                         a picture that cannot be read or written
    │   └── CheckpointError                    a checkpoint or bundle that cannot be read
    ├── MachineError                  exit 3   this machine lacks something
    │   └── MissingDependency                  a package; names the extra that brings it
    ├── ExportError                   exit 4   export or build failed
    ├── ParityError                   exit 5   an engine does not compute what the network computes
    ├── EngineError                   exit 6   an engine that does not fit this machine, graph or shape
    └── BenchmarkError                exit 7   a benchmark too noisy to be believed (with --strict)

A message is one line that says what is wrong; `mend` is one line that says how to put it right.
"""

from __future__ import annotations

from typing import Any


class NafdeployError(Exception):
    """Base of the tree.

    Args:
        message: one line, what is wrong.
        mend: one line, what to do about it; empty when nothing can be done.
    """

    exit_code = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        # worker processes send errors home; a subclass with arguments of its own cannot be made again from one message
        return _again, (type(self), self.args, self.__dict__)


class UsageError(NafdeployError):
    """The request itself is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting that is unknown or impossible."""


class ImageError(UsageError):
    """A picture that cannot be read or written."""


class CheckpointError(UsageError):
    """A checkpoint or bundle that cannot be read."""


class MachineError(NafdeployError):
    """The machine lacks something."""

    exit_code = 3


class MissingDependency(MachineError):
    """A Python package is not installed.

    Args:
        package: import name of the missing package.
        extra: the extra of this distribution that brings it.
        purpose: what it is needed for, e.g. "to export a network".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{package} is needed {purpose} and is not installed.",
            f"Install it with: pip install 'nafnet-deploy[{extra}]'",
        )
        self.package = package
        self.extra = extra


class ExportError(NafdeployError):
    """A graph or a plan could not be made, or did not pass its own checks."""

    exit_code = 4


class ParityError(NafdeployError):
    """Two things that must compute the same picture do not."""

    exit_code = 5


class EngineError(NafdeployError):
    """An engine that does not fit the machine, the graph or the shape."""

    exit_code = 6


class BenchmarkError(NafdeployError):
    """A measurement too noisy to be reported."""

    exit_code = 7


def _again(kind: type[NafdeployError], args: tuple[Any, ...], fields: dict[str, Any]) -> NafdeployError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
