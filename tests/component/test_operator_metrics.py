"""What the operator scrapes as is what happened: every count is exact, and no series stands for a job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import faulty_s3
from carryon_core import names
from carryon_kube.errors import Unavailable
from carryon_operator.metrics import catalogue
from carryon_store import open_store
from fake_apiserver import Fault, eventually
from making import make, resolved
from reconciling import SPEC, World, world

Scraped = Mapping[str, Mapping[str, float]]


def scraped(w: World) -> Scraped:
    """Name -> values of labels, by the names of these -> value; zeros left out."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(w.metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(value for _, value in sorted(sample.labels.items()))
            if sample.value:
                found.setdefault(sample.name, {})[labels] = sample.value
    return found


async def finish(w: World, *items: str) -> None:
    """Leave what workers would have left of these units, and end their pods."""
    job = resolved({"metadata": {"name": "reel"}, "spec": SPEC})
    folder = Path(str(w.config.file_root)) / "made"
    folder.mkdir(exist_ok=True)
    assert w.config.default_store is not None
    for item in items:
        store = open_store(w.config.default_store)
        make(store, job, folder, [job.item_id(0, n) for n in range(3)].index(item), {"a.txt": (b"made", "text/plain")})
    await w.seen(*w.end(*items, code=0))


async def test_a_job_that_ran_failed_and_was_disrupted_is_counted_exactly(tmp_path: Path) -> None:
    async with world(tmp_path / "bucket") as w:
        w.write()
        await w.reconcile()
        found = scraped(w)
        assert found["carryon_pods_created_total"] == {"": 3}
        assert found["carryon_units"] == {"waiting": 3}
        w.ring()
        await w.reconcile()
        found = scraped(w)
        assert found["carryon_jobs"] == {"Running": 1}
        assert found["carryon_units"] == {"active": 3}
        assert sum(found["carryon_pods"].values()) == 3

        items = w.units()
        await finish(w, items[0])
        await w.seen(*w.end(items[1], code=1))
        disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        await w.seen(*w.end(items[2], code=137, conditions=[disrupted]))
        for _ in range(12):
            w.ring()
            await w.reconcile()
        found, counters = scraped(w), w.status["counters"]
        assert {name: count for name, count in counters.items() if count} == {"failures": 1, "disruptions": 1}
        assert found["carryon_interruptions_total"] == {"failures": 1, "disruptions": 1}
        assert found["carryon_units_finished_total"] == {"generated": 1}
        assert found["carryon_pods_created_total"] == {"": 5}
        assert found["carryon_pods_deleted_total"] == {"": len(w.server.requests("DELETE"))}
        assert found["carryon_gpu_seconds_total"] == {"": w.status["gpuSeconds"]["total"]} == {"": 15}

        await finish(w, *items[1:])
        for _ in range(6):
            w.ring()
            await w.reconcile()
        found = scraped(w)
        assert w.status["phase"] == "Succeeded"
        assert found["carryon_jobs"] == {"Succeeded": 1}
        assert found["carryon_units"] == {"succeeded": 3}
        assert found["carryon_units_finished_total"] == {"generated": 3}
        assert found["carryon_gpu_seconds_total"] == {"": w.status["gpuSeconds"]["total"]}
        assert found["carryon_leader"] == {"": 1}


async def test_requests_are_counted_as_the_server_saw_them(tmp_path: Path) -> None:
    async with world(tmp_path / "bucket") as w:
        w.server.faults.append(Fault(429, method="POST", path="/pods"))
        w.server.faults.append(Fault(0, method="POST", path="/pods"))
        w.write()
        await w.reconcile()
        for _ in range(4):
            w.ring()
            await w.reconcile()
        requests = scraped(w)["carryon_kube_requests_total"]
        assert requests["429,pods,create"] == requests["none,pods,create"] == 1
        for asked, method, path in (
            ("pods,create", "POST", "/pods$"),
            ("generationjobs/status,patch", "PATCH", "/generationjobs/reel/status$"),
        ):
            counted = sum(count for labels, count in requests.items() if labels.partition(",")[2] == asked)
            assert counted == len([each for each in w.server.requests(method) if re.search(path, each.path)]) > 0
        assert scraped(w)["carryon_kube_watch_starts_total"] == {"pods": len(w.server.requests("GET", watch=True))}
        assert scraped(w)["carryon_kube_list_starts_total"] == {"pods": 1}


async def test_a_status_write_whose_answer_is_lost_is_counted_once_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path / "bucket") as w:
        w.write()
        await w.reconcile()
        w.ring()
        await w.reconcile()
        items = w.units()
        await w.seen(*w.end(items[0], code=1))
        w.server.faults.append(Fault(0, method="PATCH", path="/status", done=True))
        with pytest.raises(Unavailable):
            await w.reconcile()
        assert w.status["counters"]["failures"] == 1
        assert "failures" not in scraped(w).get("carryon_interruptions_total", {})
        for _ in range(3):
            w.ring()
            await w.reconcile()
        found = scraped(w)
        assert w.status["counters"]["failures"] == 1
        assert found["carryon_interruptions_total"]["failures"] == 1
        assert found["carryon_gpu_seconds_total"] == {"": w.status["gpuSeconds"]["total"]} == {"": 5}
        await eventually(lambda: "UnitFailed" in w.events())


async def test_a_pod_that_is_refused_shows(tmp_path: Path) -> None:
    async with world(tmp_path / "bucket") as w:
        refusal = 'pods "x" is forbidden: exceeded quota: q'
        w.server.faults.append(Fault(403, method="POST", path="/pods", message=refusal))
        w.write()
        await w.reconcile()
        assert scraped(w)["carryon_pods_refused_total"] == {"QuotaExceeded": 1}


async def test_a_bucket_that_refuses_shows_and_a_look_that_found_nothing_took_time_too(tmp_path: Path) -> None:
    with faulty_s3.serving(rule=lambda _: (403, faulty_s3.xml_error("AccessDenied"))) as endpoint:
        async with world(tmp_path / "bucket", longest=60) as w:
            w.write(output={"uri": "s3://closed/reels", "endpoint": endpoint})
            for _ in range(2):
                await w.reconcile()
                w.ring()
            found = scraped(w)
            assert w.claim("Progressing")[1] == "BucketUnreachable"
            assert found["carryon_jobs_bucket_unreachable"] == {"": 1}
            assert found["carryon_bucket_operations_total"] == {"list,denied": 2}
            assert found["carryon_verification_duration_seconds_count"] == {"sweep": 2}


async def test_the_number_of_series_does_not_grow_with_jobs(tmp_path: Path) -> None:
    async with world(tmp_path / "bucket") as w:

        def series() -> set[str]:
            return {line.rpartition(" ")[0] for line in w.metrics.text().decode().splitlines() if line[0] != "#"}

        async def make_jobs(*numbers: int) -> None:
            for number in numbers:
                namespace = f"team-{number}"
                body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "spec": SPEC, "status": {}}
                made = w.server.put("generationjobs", f"job-{number}", namespace, metadata={"generation": 1}, **body)
                w.jobs.observe(json.loads(json.dumps(made)))
                for _ in range(3):
                    w.ticks += 2
                    w.now += 2
                    await w.reconciler.reconcile(f"{namespace}/job-{number}")
                    await eventually(lambda: len(w.pods) == len(w.ours()))
                    key = f"generationjobs/{namespace}/job-{number}"
                    w.jobs.observe(json.loads(json.dumps(w.server.objects[key])))

        await make_jobs(1, 2)
        await eventually(lambda: not w.recorder._waiting)
        before = series()
        await make_jobs(*range(3, 12))
        assert series() == before
        assert not re.search("team-|job-|reel|clip", "".join(before))
        named = {line.partition("{")[0] for line in before}
        missing = {each.name for each in catalogue.SERIES if not named & {each.name, f"{each.name}_count"}}
        assert not missing
