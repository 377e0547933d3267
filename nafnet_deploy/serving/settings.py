"""What a server allows, and how it works."""

from __future__ import annotations

import dataclasses
import math

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.images.files import MAX_PIXELS

MOST_WAIT = 60_000
"""Longest wait for others of a batch (ms)."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits and habits of `nafdeploy serve`.

    Raises:
        ConfigError: a value that is not positive, or more pixels than are ever opened.
    """

    max_body: int = 64 * 2**20
    """Largest body of a request (bytes); more is refused with 413 as soon as it is known."""
    max_pixels: int = 50_000_000
    """Largest picture (pixels); also how many are decoded at a time, over all requests."""
    concurrency: int = 32
    """Requests in work or waiting for it; one more is refused with 503."""
    batch: int = 8
    """Most pictures or tiles of one shape that go through the network together, memory allowing."""
    wait_ms: float = 4.0
    """How long the first of a batch waits for others (ms)."""
    body_seconds: float = 60.0
    """A body must have come in full by then; else 408."""
    idle_seconds: float = 10.0
    """Longest pause in a request's headers or body, or in the reading of a response."""
    stop_seconds: int = 60
    """How long requests in work may take to finish after the server was told to stop."""
    preview_pixels: int = 786_432
    """Largest part of a picture of which the page shows every iteration (pixels)."""
    iterations: int | None = None
    """Reasoning iterations when a request names none; None for the model's."""
    engine: str = "auto"
    """As for `nafdeploy run`."""
    trust_engine: bool = False
    """As for `nafdeploy run`."""
    threads: int | None = None
    """CPU threads of the engine; None leaves the choice to it."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "wait_ms" else 1e-3
            if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value < math.inf:
                option = field.name.replace("_", "-")
                raise ConfigError(f"{option} {value} is impossible.", "Use a positive number.")
        if self.wait_ms > MOST_WAIT:
            raise ConfigError(f"wait-ms {self.wait_ms} is impossible.", f"Use {MOST_WAIT} or less.")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(
                f"max-pixels {self.max_pixels} is more than is ever opened.", f"Use {MAX_PIXELS} or less."
            )
