"""What the API counts for Prometheus; no names of jobs or people, which would be without number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one replica: they begin at zero with its process, as Prometheus expects."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry: Final = CollectorRegistry()
        self._requests = Counter(
            "carryon_api_requests",
            "Requests that were answered, by route.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "carryon_api_request_seconds",
            "Seconds until an answer began, by route.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._jobs = Gauge("carryon_api_jobs", "Jobs that this replica knows.", registry=self.registry)
        self._pages = Gauge("carryon_api_pages", "Streams of live events that are open.", registry=self.registry)

    def watch_jobs(self, count: Callable[[], float]) -> None:
        """Have the number of jobs asked at each scrape."""
        self._jobs.set_function(count)

    def watch_pages(self, count: Callable[[], float]) -> None:
        """Have the number of open streams asked at each scrape."""
        self._pages.set_function(count)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            method: Of HTTP.
            route: Template of the path; empty where there is none.
            status: Of HTTP.
            seconds: Until the answer began.
        """
        self._requests.labels(method, route or "none", str(status)).inc()
        self._seconds.labels(method, route or "none").observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
