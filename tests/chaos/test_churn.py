"""Promise: an operator that has lived through a day of churn holds no more than after a quarter of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
HOURS, JOBS = 24, 2000
BOUNDED = {
    "carryon_operator.kube.events.EventRecorder._series": 2048,
    "carryon_operator.kube.events._Series()": 2048,
    "carryon_operator.kube.events._Series.about": 5 * 2048,
    "carryon_kube.client.WatchEvent()": 2,
    "carryon_kube.client.WatchEvent.object": 2 * 4,
    "carryon_store.s3.Connections()": 1,
    "carryon_store.s3.Connections._pool": 256,
    "carryon_store.s3.Connection()": 256,
}
"""What is kept when no job is left, and how much of it at most.

Events that may happen again, what each watch brought last, clients of S3.
"""
PER_SERIES = 20
"""Objects, about, of one Event that is remembered."""
CONNECTIONS = 64
"""What a client keeps to the API server at most."""
RESIDENT_MOST = 24 * 2**20
"""Bytes by which the process may grow from the first quarter to the last: 2,048 Events are 4 MiB, the rest is the
allocator's, 11 MiB in some runs. A leak of 16 KiB a job would be 24 MiB; of smaller ones objects tell."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was written down of a day of 24 hours."""
    report = tmp_path_factory.mktemp("churn") / "report.json"
    done = subprocess.run(
        [sys.executable, "churn.py", str(report), str(HOURS), str(JOBS), "20261121"],
        cwd=TESTS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.mark.slow
def test_the_day_was_one_in_which_much_happened(day: dict[str, Any]) -> None:
    assert day["jobs"] > 0.9 * JOBS
    assert day["finished"] > JOBS / 3
    assert day["pods"] > JOBS
    assert all(day["ends"][how] > JOBS / 50 for how in ("done", "failed", "evicted", "vanished"))
    assert day["relists"] > HOURS / 2
    assert day["watches_cut"] > HOURS
    assert day["faults"] > 100
    assert day["bucket_outages"] > HOURS / 4
    assert day["api_outages"] > 2


@pytest.mark.slow
def test_no_mistake_of_ours_and_no_probe_that_would_have_had_us_restarted(day: dict[str, Any]) -> None:
    assert day["tracebacks"] == []
    assert day["livez_failed"] == []
    assert day["scraped"]['carryon_reconciles_total{outcome="error"}'] == 0


@pytest.mark.slow
def test_what_is_scraped_after_a_day_is_what_the_server_saw(day: dict[str, Any]) -> None:
    scraped = day["scraped"]
    assert scraped["carryon_pods_created_total"] == day["pods"]
    assert all(scraped[f'carryon_interruptions_total{{cause="{cause}"}}'] > 0 for cause in ("failures", "disruptions"))
    assert scraped['carryon_units_finished_total{outcome="generated"}'] > JOBS / 2
    assert scraped['carryon_bucket_operations_total{operation="list",outcome="denied"}'] > 0
    for gauge in ("carryon_jobs", "carryon_units", "carryon_pods", "carryon_queue_depth", "carryon_workers_busy"):
        assert not any(value for name, value in scraped.items() if name.partition("{")[0] == gauge)


@pytest.mark.slow
def test_nothing_of_ours_is_kept_of_jobs_that_are_gone(day: dict[str, Any]) -> None:
    """Every container of every object of ours and kopf's: also those that somebody adds next year."""
    before = day["readings"][0]["containers"]
    for reading in day["readings"][1:]:
        more = {name: count for name, count in reading["containers"].items() if count > before.get(name, 0)}
        assert {name: count for name, count in more.items() if count > BOUNDED.get(name, 0)} == {}, reading["hour"]


@pytest.mark.slow
def test_no_task_watch_thread_or_descriptor_is_left(day: dict[str, Any]) -> None:
    first, *readings = day["readings"]
    for reading in readings:
        tasks = Counter(reading["tasks"]) - Counter(first["tasks"])
        # Connections that the server keeps open for the next request, and watches that begin anew.
        assert sum(count for name, count in tasks.items() if name != "RequestHandler.start") == 0, tasks
        assert tasks["RequestHandler.start"] <= CONNECTIONS
        assert reading["watches"] <= 2
        assert _held(reading) <= _held(first) + 24
        # Pools, which are bounded: looks at buckets, asyncio's own; a look's readers are gone.
        threads = {name: count for name, count in reading["threads"].items() if "Thread" not in name}
        assert set(threads) <= {"bucket", "asyncio", "probes", "notify", "resolve"}, threads
        assert threads.get("bucket", 0) <= 16
    assert _held(readings[-1]) <= _held(readings[0]) + 8


def _held(reading: dict[str, Any]) -> int:
    """Descriptors but for the two ends of each connection to the API server, which is in the same process."""
    return int(reading["descriptors"]) - 2 * Counter(reading["tasks"])["RequestHandler.start"]


@pytest.mark.slow
def test_memory_is_flat_after_the_first_quarter(day: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    _, warm, *readings = day["readings"]
    events = "carryon_operator.kube.events._Series()"
    for reading in readings:
        remembered = reading["containers"].get(events, 0) - warm["containers"].get(events, 0)
        # Less than one object a job would show: 500 of them came and went in each quarter.
        assert reading["objects"] - warm["objects"] < remembered * PER_SERIES + JOBS / 4 * 4
        assert reading["resident"] - warm["resident"] < RESIDENT_MOST
    with capsys.disabled():
        resident = ", ".join(f"{reading['resident'] / 2**20:.0f}" for reading in day["readings"])
        objects = ", ".join(f"{reading['objects']:,}" for reading in day["readings"])
        print(f"\n{day['jobs']} jobs and {day['pods']} pods in {HOURS} hours: {resident} MiB; {objects} objects")
