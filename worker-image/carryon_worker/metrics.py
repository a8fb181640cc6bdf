"""What a worker has come to so far, in the text form that Prometheus scrapes; no prompts, no names of units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from carryon_worker.ledger import Ledger

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


def text(ledger: Ledger) -> str:
    """Answer of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Course(ledger))
    return generate_latest(registry).decode()


class _Course:
    """The course of a worker, as it is at the moment of a scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """The metrics; a second scrape never shows less."""
        totals = self._ledger.totals()
        counts = {
            "carryon_worker_steps": ("Steps that ended, those answered from a journal included.", totals.steps),
            "carryon_worker_replayed_calls": ("Denoiser calls answered from a journal.", totals.replayed),
            "carryon_worker_journal_bytes": ("Bytes written to journals.", totals.written),
            "carryon_worker_journal_segments": ("Segments written to journals.", totals.segments),
            "carryon_worker_journal_flush_seconds": ("Time that writing them took, in background.", totals.writing),
            "carryon_worker_journal_waited_seconds": ("Time that steps waited for journals.", totals.waited),
            "carryon_worker_units_finished": ("Assigned units that ended, well or not.", len(self._ledger.reports)),
        }
        for name, (meaning, value) in counts.items():
            yield CounterMetricFamily(name, meaning, value=value)
        yield GaugeMetricFamily(
            "carryon_worker_idle_seconds", "Time since the last movement.", value=self._ledger.idle()
        )
