"""The series of the operator: a closed catalogue, documented, in the form that Prometheus reads."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from carryon_api.metrics import Metrics as ApiMetrics
from carryon_core.done import Misfit
from carryon_core.messages import AssignedUnit, Assignment, StoreConfig
from carryon_core.status import Counters, JobStatus, Phase, UnitCounts
from carryon_kube.observing import Exchange, asked
from carryon_operator.metrics import Metrics, catalogue
from carryon_operator.metrics.population import population
from carryon_operator.metrics.reference import page, table
from carryon_operator.plan.model import DeliveryEnd, Spending
from carryon_store import Denied, NotFound, ObjectInfo, StoreError, Unreachable
from carryon_store.observing import OPERATIONS, ObservedStore, Operation
from carryon_worker.ledger import Ledger
from carryon_worker.metrics import text as worker_text

ROOT = Path(__file__).parents[2]


def scraped(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Name of each sample -> values of its labels in order of their names -> value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_names_follow_the_conventions_of_prometheus() -> None:
    names = [series.name for series in catalogue.SERIES]
    assert len(set(names)) == len(names)
    for series in catalogue.SERIES:
        assert re.fullmatch("carryon_[a-z]+(_[a-z]+)*", series.name)
        assert series.name.endswith("_total") == (series.kind == "counter")
        assert series.name.endswith(("_seconds", "_info")) or series.kind != "histogram"
        assert (series.kind == "histogram") == bool(series.buckets)
        assert series.about.endswith(".")
        assert series.answers.endswith(("?", ".")), series.name
        assert list(series.buckets) == sorted(series.buckets)


def test_whatever_is_counted_has_a_label_of_the_catalogue() -> None:
    """Also what nobody foresaw: a verb of kopf's, a kind of object, a code of some proxy, a reason of later."""
    metrics = Metrics()
    for verb, resource, code in product(("get", "watch", "other"), ("pods", "", "gadgets/scale"), (200, 0, 299, 599)):
        metrics.exchanged(Exchange(verb, resource, False, code, 0.1))  # type: ignore[arg-type]
    for reason in ("QuotaExceeded", "SomethingNew"):
        metrics.refused(reason)
    found = scraped(metrics)
    by_name = {series.name: series for series in catalogue.SERIES}
    for name, samples in found.items():
        series = by_name.get(re.sub("_(bucket|sum|count)$", "", name), by_name.get(name))
        if series is None or series is catalogue.BUILD:
            assert name.startswith("process_") or series is catalogue.BUILD
            continue
        allowed = {"le", *series.labels}
        values = {label: set(each) for label, each in series.labels.items()}
        for family in text_string_to_metric_families(metrics.text().decode()):
            for sample in family.samples:
                if sample.name == name:
                    assert set(sample.labels) <= allowed
                    assert all(sample.labels[label] in values[label] for label in series.labels)
        assert samples
    assert found["carryon_kube_requests_total"][("none", "pods", "get")] == 1
    assert found["carryon_kube_requests_total"][("other", "other", "other")] == 4
    assert found["carryon_pods_refused_total"][("other",)] == 1


def test_a_label_that_nothing_was_counted_under_is_there_too() -> None:
    """Or a rate over it would miss the first."""
    metrics = Metrics()
    metrics.book(Spending(total=90, useful=60, refused={Misfit.LIBRARY: 1}))
    metrics.notified({DeliveryEnd.DELIVERED: 2})
    found = scraped(metrics)
    assert found["carryon_gpu_seconds_total"] == {(): 90}
    assert found["carryon_gpu_seconds_by_use_total"][("useful",)] == 60
    assert found["carryon_gpu_seconds_by_use_total"][("saved",)] == 0
    assert found["carryon_journals_refused_total"][("library",)] == 1
    assert found["carryon_journals_refused_total"][("diverged",)] == 0
    assert found["carryon_notification_attempts_total"][("given_up",)] == 0
    assert set(found["carryon_interruptions_total"]) == {(cause,) for cause in catalogue.CAUSES}


def test_a_status_write_counts_what_it_adds_and_never_takes_away() -> None:
    metrics = Metrics()
    first = JobStatus(observed_generation=1, units=UnitCounts(total=9, failed=1, outcomes={"generated": 2}))
    more = first.model_copy(
        update={
            "units": UnitCounts(total=9, failed=2, outcomes={"generated": 4, "skipped": 1}),
            "counters": Counters(disruptions=2, stuck=1, not_resumable=1, round=3),
        }
    )
    metrics.wrote(first, more)
    metrics.wrote(more, more)
    metrics.wrote(more, first)  # Units were edited, so that they are to be made again.
    found = scraped(metrics)
    assert found["carryon_units_finished_total"] == {
        ("generated",): 2,
        ("skipped",): 1,
        ("filtered",): 0,
        ("failed",): 1,
    }
    causes = {cause: count for (cause,), count in found["carryon_interruptions_total"].items() if count}
    assert causes == {"disruptions": 2, "stuck": 1, "not_resumable": 1}


def test_what_a_job_had_at_the_first_look_was_not_done_now() -> None:
    metrics = Metrics()
    imported = JobStatus(observed_generation=1, units=UnitCounts(total=9, outcomes={"generated": 9}))
    metrics.wrote(JobStatus(), imported)
    assert set(scraped(metrics)["carryon_units_finished_total"].values()) == {0}


def jobs(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "metadata": {"name": f"job-{number}", "namespace": f"team-{number}", "uid": str(number)},
            "status": {
                "phase": list(Phase)[number % len(Phase)].value,
                "units": {"total": 10_000, "succeeded": 5_000, "failed": 10, "active": 40, "remaining": 4_990},
                "conditions": [{"type": "Progressing", "status": "False", "reason": "BucketUnreachable"}]
                * (number % 2),
                "stages": [{"name": "clip", "succeeded": "0-9998", "failures": {"1": "0-4999"}}],
            },
        }


def test_jobs_and_units_are_counted_from_the_counts_in_status() -> None:
    found = population([*jobs(22), {"metadata": {}}])
    assert found.units == {"succeeded": 110_000, "failed": 220, "active": 880, "waiting": 22 * 4_950}
    assert found.unreachable == 11
    assert found.phases == {"New": 1, **{phase.value: 2 + (n < 22 % len(Phase)) for n, phase in enumerate(Phase)}}


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda e: st.lists(e) | st.dictionaries(st.text(), e),
        max_leaves=4,
    )
)
def test_a_damaged_status_spoils_no_scrape(damage: Any) -> None:
    good = next(jobs(1))
    for status in (damage, {"units": damage}, {"conditions": damage}, {"phase": damage}):
        found = population([good, {**good, "status": status}])
        assert sum(found.phases.values()) == 2
        assert found.units["succeeded"] >= 5_000


def test_a_scrape_looks_at_no_unit() -> None:
    """1,000 jobs of 10,000 units: as quick as 1,000 jobs of one; the ratio is of the same run."""

    def seconds(many: list[dict[str, Any]]) -> float:
        began = time.process_time()
        for _ in range(5):
            population(many)
        return time.process_time() - began

    large = list(jobs(1000))
    for job in large:
        job["status"]["stages"] *= 16
        job["status"]["recorded"] = ["uid"] * 1000
    small = [{**job, "status": {**job["status"], "stages": [], "recorded": []}} for job in large]
    assert min(seconds(large) for _ in range(5)) < 3 * min(seconds(small) for _ in range(5))


@pytest.mark.parametrize(
    ("method", "path", "watch", "verb", "resource"),
    [
        ("GET", "/api/v1/pods", False, "list", "pods"),
        ("GET", "/api/v1/pods", True, "watch", "pods"),
        ("GET", "/api/v1/namespaces/studio/pods/reel-1", False, "get", "pods"),
        ("GET", "/api/v1/namespaces/studio/pods/reel-1/log", False, "get", "pods/log"),
        ("POST", "/api/v1/namespaces/studio/pods", False, "create", "pods"),
        ("DELETE", "/api/v1/namespaces/studio/pods/reel-1", False, "delete", "pods"),
        (
            "PATCH",
            "/apis/carryon.dev/v1alpha1/namespaces/studio/generationjobs/reel/status",
            False,
            "patch",
            "generationjobs/status",
        ),
        ("GET", "/apis/carryon.dev/v1alpha1/generationjobs", True, "watch", "generationjobs"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/carryon/leases/operator", False, "update", "leases"),
        ("GET", "/api/v1/namespaces/studio", False, "get", "namespaces"),
        ("GET", "/api/v1/namespaces", False, "list", "namespaces"),
        ("GET", "/api/v1/namespaces/studio/status", False, "get", "namespaces/status"),
        ("GET", "/apis/carryon.dev/v1alpha1", False, "other", ""),
        ("GET", "/apis", False, "other", ""),
        ("GET", "/version", False, "other", ""),
    ],
)
def test_a_request_is_told_by_its_path(method: str, path: str, watch: bool, verb: str, resource: str) -> None:
    assert asked(method, path, watch) == (verb, resource)


class Answering:
    """A store in which every operation ends the same."""

    def __init__(self, error: StoreError | None) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def operation(*_: Any, **__: Any) -> Any:
            if self.error is not None:
                raise self.error
            return iter([b"1", b"2"]) if name in ("list", "read") else None

        return operation


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (NotFound("x"), "not_found"),
        (Denied("x"), "denied"),
        (Unreachable("x"), "unreachable"),
        (StoreError("x"), "other"),
    ],
    ids=str,
)
def test_every_operation_on_a_bucket_is_told_once_with_how_it_ended(error: StoreError | None, outcome: str) -> None:
    told: list[Operation] = []
    store = ObservedStore(Answering(error), told.append)  # type: ignore[arg-type]
    info = ObjectInfo("k", 2, "e", None)  # type: ignore[arg-type]
    calls = {
        "put": lambda: store.put("k", b"", content_type="x"),
        "get": lambda: store.get("k"),
        "download": lambda: store.download("k", Path("x")),
        "read": lambda: list(store.read(info)),
        "presign": lambda: store.presign("k", seconds=1, content_type="x", disposition="y"),
        "sha256": lambda: store.sha256("k"),
        "head": lambda: store.head("k"),
        "list": lambda: list(store.list("k")),
        "delete": lambda: store.delete("k"),
        "probe": store.supports_conditional_puts,
    }
    assert set(calls) == set(OPERATIONS)
    for call in calls.values():
        if error is None:
            call()
        else:
            with pytest.raises(type(error)):
                call()
    assert [(each.name, each.outcome) for each in told] == [(name, outcome) for name in calls]


def test_a_listing_that_is_left_early_was_answered_and_its_reader_s_time_is_not_the_bucket_s() -> None:
    told: list[Operation] = []
    ticks = iter(range(100))
    store = ObservedStore(Answering(None), told.append, lambda: float(next(ticks)))  # type: ignore[arg-type]
    pieces = store.list()
    next(pieces)
    for _ in range(50):
        next(ticks)  # The reader thinks.
    pieces.close()  # type: ignore[attr-defined]
    assert told == [Operation("list", "ok", 1.0)]


def test_every_series_is_documented_with_what_it_answers() -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert text == page(text), "run make generate"
    for series in catalogue.SERIES:
        assert f"`{series.name}" in table()
        assert series.answers in table()


def test_what_the_documentation_and_the_chart_alert_on_exists() -> None:
    files = ("docs/how-to/monitoring.md", "charts/carryon/files/alerts.yaml")
    # Those of the API are no part of this catalogue.
    text = re.sub(r"\bcarryon_api_", "", "".join((ROOT / file).read_text(encoding="utf-8") for file in files))
    known = {series.name: series for series in catalogue.SERIES}
    used = set(re.findall(r"\bcarryon_\w+", text))
    assert len(used) > 12
    assert {re.sub("_bucket$", "", name) for name in used} <= known.keys()
    for name, conditions in re.findall(r"(carryon_\w+)\{([^}]*)\}", text):
        for label, _, value in re.findall(r'(\w+)(=~|!~|=)"([^"]*)"', conditions):
            values = known[name].labels[label]
            assert all(any(re.fullmatch(each, there) for there in values) for each in value.split("|")), value


def test_every_series_of_api_and_workers_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    unit = AssignedUnit(index=0, item="i", fingerprint="0" * 64, seed=0, generate={})
    assignment = Assignment(
        namespace="n", job="j", stage="s", attempt=1, store=StoreConfig(uri="file:///x"), units=[unit]
    )
    exposed = {"API": ApiMetrics().text().decode(), "Worker": worker_text(Ledger(assignment))}
    for title, series in exposed.items():
        section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        documented = set(re.findall(r"`(carryon_\w+)", section))
        found = set()
        for family in text_string_to_metric_families(series):
            found.add(family.name + ("_total" if family.type == "counter" else ""))
        assert documented == found
