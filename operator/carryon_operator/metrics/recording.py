"""Counts what the operator does, and asks the rest of it when Prometheus scrapes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import product
from typing import Final, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from carryon_core.status import JobStatus
from carryon_kube.observing import Exchange
from carryon_operator.metrics import catalogue
from carryon_operator.metrics.catalogue import Series
from carryon_operator.plan.model import DeliveryEnd, Spending
from carryon_store.observing import Operation

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
# A second series beside each counter, which tells what rate() finds out by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]

Answer: TypeAlias = float | Mapping[str, float]
"""A value, or one for each value of the only label; those left out are 0."""


class Metrics:
    """Counters of one operator: they begin at zero with its process, as Prometheus expects.

    All may be called from any thread.
    """

    def __init__(self) -> None:
        """Begin at zero, with every label that there can be, but for what is too much to spell out: requests."""
        self._registry = CollectorRegistry()
        self._asked = _Asked()
        made = self._counter
        self._reconciles, self._put_off = made(catalogue.RECONCILES), made(catalogue.PUT_OFF)
        self._reconcile_seconds = self._histogram(catalogue.RECONCILE_SECONDS)
        self._lag = self._histogram(catalogue.LOOP_LAG)
        self._requests = made(catalogue.REQUESTS, spelled=False)
        self._request_seconds = self._histogram(catalogue.REQUEST_SECONDS, spelled=False)
        self._watches, self._lists = made(catalogue.WATCHES), made(catalogue.LISTS)
        self._operations = made(catalogue.BUCKETS)
        self._operation_seconds = self._histogram(catalogue.BUCKET_SECONDS, spelled=False)
        self._verification = self._histogram(catalogue.VERIFICATION)
        self._finished = made(catalogue.UNITS_FINISHED)
        self._created, self._deleted = made(catalogue.PODS_CREATED), made(catalogue.PODS_DELETED)
        self._refused = made(catalogue.PODS_REFUSED)
        self._interruptions = made(catalogue.INTERRUPTIONS)
        self._gpu_seconds, self._by_use = made(catalogue.GPU_SECONDS), made(catalogue.GPU_SECONDS_BY_USE)
        self._resumed, self._misfits = made(catalogue.RESUMED), made(catalogue.REFUSED)
        self._journals_ended = made(catalogue.JOURNALS_ENDED)
        self._notified = made(catalogue.NOTIFIED)
        Gauge(catalogue.BUILD.name, catalogue.BUILD.about, ["version", "python"], registry=self._registry).labels(
            version("carryon"), platform.python_version()
        ).set(1)
        ProcessCollector(registry=self._registry)
        self._registry.register(self._asked)

    def ask(self, readings: Callable[[], Mapping[Series, Answer]]) -> None:
        """Have these called at each scrape: values of gauges, and of counters that others keep."""
        self._asked.readings = readings

    def reconciled(self, outcome: str, seconds: float) -> None:
        """A look at a job has ended, as one of the outcomes of `RECONCILES`."""
        self._reconciles.labels(outcome).inc()
        self._reconcile_seconds.observe(seconds)

    def put_off(self) -> None:
        """A look at a job was put off: others were at its bucket."""
        self._put_off.inc()

    def lagged(self, seconds: float) -> None:
        """A timer rang so much late."""
        self._lag.observe(seconds)

    def exchanged(self, exchange: Exchange) -> None:
        """A request to the API server was answered, or was not."""
        resource = _known(catalogue.REQUESTS, "resource", exchange.resource)
        code = _known(catalogue.REQUESTS, "code", str(exchange.code or "none"))
        self._requests.labels(exchange.verb, resource, code).inc()
        followed = resource in catalogue.FOLLOWED
        if exchange.verb != "watch":
            self._request_seconds.labels(exchange.verb, resource).observe(exchange.seconds)
        elif followed:
            self._watches.labels(resource).inc()
        if exchange.verb == "list" and followed and not exchange.further:
            self._lists.labels(resource).inc()

    def operated(self, operation: Operation) -> None:
        """An operation on a bucket has ended."""
        self._operations.labels(operation.name, operation.outcome).inc()
        self._operation_seconds.labels(operation.name).observe(operation.seconds)

    def looked(self, look: str, seconds: float) -> None:
        """A look at what is done has ended, one of those of `VERIFICATION`."""
        self._verification.labels(look).observe(seconds)

    def created(self) -> None:
        """A pod was created."""
        self._created.inc()

    def deleted(self) -> None:
        """The deletion of a pod was asked for."""
        self._deleted.inc()

    def refused(self, reason: str) -> None:
        """A pod was refused."""
        self._refused.labels(_known(catalogue.PODS_REFUSED, "reason", reason)).inc()

    def wrote(self, before: JobStatus, after: JobStatus) -> None:
        """Count what a status write has added to a job's counters and to what is done."""
        counted = after.counters.model_dump()
        for cause, count in before.counters.model_dump(include=set(catalogue.CAUSES)).items():
            self._interruptions.labels(cause).inc(max(counted[cause] - count, 0))
        if before.observed_generation is None:
            return  # What was there at the first look was not done now.
        had, has = ({**each.units.outcomes, catalogue.FAILED: each.units.failed} for each in (before, after))
        for outcome in catalogue.FINISHES:
            self._finished.labels(outcome).inc(max(has.get(outcome, 0) - had.get(outcome, 0), 0))

    def book(self, spending: Spending) -> None:
        """Count what a status write has added to what pods cost."""
        self._gpu_seconds.inc(spending.total)
        for use in catalogue.GPU_SECONDS_BY_USE.labels["use"]:
            self._by_use.labels(use).inc(getattr(spending, use))
        for misfit, count in spending.refused.items():
            self._misfits.labels(misfit.value).inc(count)
        self._journals_ended.inc(spending.ended)
        self._resumed.inc(spending.resumed)

    def notified(self, ends: Mapping[DeliveryEnd, int]) -> None:
        """Count what a status write says of attempts at notifications."""
        for end, count in ends.items():
            self._notified.labels(end.value).inc(count)

    def text(self) -> bytes:
        """Answer of /metrics."""
        return generate_latest(self._registry)

    def _counter(self, series: Series, *, spelled: bool = True) -> Counter:
        counter = Counter(series.name, series.about, tuple(series.labels), registry=self._registry)
        for values in _spelled(series) if spelled else ():
            counter.labels(*values)
        return counter

    def _histogram(self, series: Series, *, spelled: bool = True) -> Histogram:
        made = Histogram(
            series.name, series.about, tuple(series.labels), registry=self._registry, buckets=series.buckets
        )
        for values in _spelled(series) if spelled else ():
            made.labels(*values)
        return made


class _Asked:
    """Gauges, and counters that others keep, as they are at the moment of a scrape."""

    def __init__(self) -> None:
        self.readings: Callable[[], Mapping[Series, Answer]] = dict

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry that is not told asks for everything to find out names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All that there is to ask."""
        for series, answer in self.readings().items():
            made = GaugeMetricFamily if series.kind == "gauge" else CounterMetricFamily
            family = made(series.name, series.about, labels=tuple(series.labels))
            if isinstance(answer, Mapping):
                (values,) = series.labels.values()
                for value in values:
                    family.add_metric((value,), answer.get(value, 0))
            else:
                family.add_metric((), answer)
            yield family


def _spelled(series: Series) -> Iterator[tuple[str, ...]]:
    """All combinations of the labels, so that a rate does not miss the first one that is counted."""
    return product(*series.labels.values()) if series.labels else iter(())


def _known(series: Series, label: str, value: str) -> str:
    return value if value in series.labels[label] else catalogue.OTHER
