"""What the server counts, for Prometheus."""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one server, apart from those of any other in the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        if sys.platform == "linux":
            ProcessCollector(registry=self._registry)
        self.requests = Counter("nafdeploy_requests", "Requests answered.", ("path", "status"), registry=self._registry)
        """By path and status."""
        self.seconds = Histogram(
            "nafdeploy_request_seconds",
            "From a request's headers to the end of its response.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        """By path."""
        self.stages = Histogram(
            "nafdeploy_stage_seconds",
            "Time of a picture in each stage: wait, read, restore, write.",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        """By stage."""
        self.in_work = Gauge("nafdeploy_requests_in_work", "Requests in work or waiting.", registry=self._registry)
        """At this moment."""
        self.batches = Histogram(
            "nafdeploy_batch_size",
            "Pictures and tiles that went through the network together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        """One observation per batch."""
        self.pixels = Counter("nafdeploy_pixels", "Pixels restored.", registry=self._registry)
        """Of the inputs."""

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
