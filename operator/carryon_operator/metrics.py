"""What the operator counts for Prometheus; no names of jobs or units, which would be without number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from carryon_core.done import Misfit
from carryon_operator.plan.model import DeliveryEnd, Spending

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_KINDS: Final = ("useful", "checkpointing", "lost", "saved")


class Metrics:
    """Counters of one operator: they begin at zero with its process, as Prometheus expects."""

    def __init__(self, journal_bytes: Callable[[], float], notifications: Callable[[], float]) -> None:
        """Begin at zero, with every label that there can be.

        Args:
            journal_bytes: Bytes that journals hold, asked at each scrape.
            notifications: That are under way, likewise.
        """
        self._registry = CollectorRegistry()
        self._total = Counter(
            "carryon_gpu_seconds", "Seconds of pods that ended, times their GPUs.", registry=self._registry
        )
        self._parts = Counter(
            "carryon_gpu_seconds_by_use",
            "Seconds that made units, that steps waited for journals, that were lost, and that a restart saved.",
            ["use"],
            registry=self._registry,
        )
        self._refused = Counter(
            "carryon_journals_refused",
            "Attempts that started over because a journal did not fit, by what did not.",
            ["misfit"],
            registry=self._registry,
        )
        self._ended = Counter(
            "carryon_journals_ended",
            "Attempts whose journal was not kept any more from some point on.",
            registry=self._registry,
        )
        self._resumed = Counter(
            "carryon_attempts_resumed", "Attempts that went on from a journal.", registry=self._registry
        )
        Gauge(
            "carryon_journal_bytes",
            "Bytes that journals hold in the buckets of jobs that are not over, by the last look at each.",
            registry=self._registry,
        ).set_function(journal_bytes)
        self._notified = Counter(
            "carryon_notification_attempts",
            "Attempts at webhooks: delivered, failed and to be tried again, given up.",
            ["outcome"],
            registry=self._registry,
        )
        Gauge(
            "carryon_notifications_waiting",
            "Notifications that are being sent, or are due and wait for their turn.",
            registry=self._registry,
        ).set_function(notifications)
        for end in DeliveryEnd:
            self._notified.labels(end.value)
        for use in _KINDS:
            self._parts.labels(use)
        for misfit in Misfit:
            self._refused.labels(misfit.value)

    def book(self, spending: Spending) -> None:
        """Count what a status write has added."""
        self._total.inc(spending.total)
        for use in _KINDS:
            self._parts.labels(use).inc(getattr(spending, use))
        for misfit, count in spending.refused.items():
            self._refused.labels(misfit.value).inc(count)
        self._ended.inc(spending.ended)
        self._resumed.inc(spending.resumed)

    def notified(self, ends: Mapping[DeliveryEnd, int]) -> None:
        """Count what a status write says of attempts at notifications."""
        for end, count in ends.items():
            self._notified.labels(end.value).inc(count)

    def text(self) -> bytes:
        """Answer of /metrics."""
        return generate_latest(self._registry)
