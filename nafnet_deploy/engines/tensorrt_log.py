"""TensorRT's own log, routed into Python's `logging` as `nafnet_deploy.tensorrt`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Iterator
from typing import Any

LOG = logging.getLogger("nafnet_deploy.tensorrt")
LOG.addHandler(logging.NullHandler())  # silent until the program asks: errors reach the user as one exception
_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}
_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")
_MOST = 50
"""Errors and warnings kept of one build; a broken graph can repeat one for every node."""


@dataclasses.dataclass
class Heard:
    """What the library said while somebody listened."""

    errors: list[str] = dataclasses.field(default_factory=list)
    """Errors, oldest first."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """Warnings, each once."""
    activation_bytes: int | None = None
    """Activation memory at the largest shape, where the library stated it."""

    def hear(self, level: int, text: str) -> None:
        """Keeps what matters of one message."""
        if level == logging.ERROR and len(self.errors) < _MOST:
            self.errors.append(text)
        elif level == logging.WARNING and text not in self.warnings and len(self.warnings) < _MOST:
            self.warnings.append(text)
        elif level == logging.INFO and (found := _ACTIVATIONS.search(text)):
            self.activation_bytes = int(found[1])


_loggers: dict[str, Any] = {}


def library_logger(module: Any) -> Any:
    """The `ILogger` of that library. One per process: the library keeps the first one it meets for itself."""
    name = module.__name__
    if name not in _loggers:
        _loggers[name] = _make(module)
    return _loggers[name]


@contextlib.contextmanager
def listening(module: Any) -> Iterator[Heard]:
    """Collects what the library says inside the block."""
    logger = library_logger(module)
    before, logger.heard = logger.heard, Heard()
    try:
        yield logger.heard
    finally:
        logger.heard = before


def _make(module: Any) -> Any:
    # `trt.Logger` ignores an overridden `log`; only a subclass of ILogger is asked.
    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)  # pybind11 demands the base's own, not super()
            self.heard = Heard()

        def log(self, severity: Any, text: str) -> None:
            """Called from native code, about 10,000 times a build: never raises, drops what nobody wants at once."""
            try:
                level = _LEVELS[severity.name]
                if level > logging.DEBUG:
                    self.heard.hear(level, text)
                if LOG.isEnabledFor(level):
                    LOG.log(level, "%s", text)
            except Exception as error:  # an exception here would unwind through native frames
                LOG.debug("a message was lost: %r", error)

    return Logger()
