"""Jobs over HTTP: lists, manifests, progress, actions, batches, validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from status_site import ADMIN, EDITOR, JOBS, VIEWER, Site, job

ALL = "/api/v1/namespaces/default/jobs"
Make = Callable[..., dict[str, Any]]
NOW = "2026-11-21T18:00:00Z"
RUNNING = {
    "phase": "Running",
    "progress": "9/15",
    "message": "9 of 15 clips done, 6 remaining",
    "units": {"total": 15, "succeeded": 9, "failed": 1, "active": 2, "remaining": 5, "outcomes": {"generated": 9}},
    "stages": [
        {
            "name": "clip",
            "total": 15,
            "succeeded": "0-8",
            "failed": "9",
            "active": [{"pod": "reel-abc-1", "uid": "p", "units": "10-11", "attempt": 1, "since": NOW}],
            "started": NOW,
        }
    ],
    "counters": {"resumes": 1, "disruptions": 3, "failures": 2, "stuck": 1},
    "gpuSeconds": {"total": 100, "useful": 80, "lost": 5, "saved": 30},
    "recentFailures": [
        {"stage": "clip", "unit": "9", "reason": "OutOfMemory", "message": "x", "attempt": 3, "time": NOW}
    ],
}


def condition(kind: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": NOW, **more}


def test_a_job_is_made_from_json_and_from_yaml(site: Site) -> None:
    with site.http(EDITOR) as http:
        made = http.post(ALL, json=job("by-json"))
        assert made.status_code == 201, made.text
        assert made.json()["name"] == "by-json"
        text = yaml.safe_dump(job("by-yaml"))
        made = http.post(ALL, content=text, headers={"Content-Type": "application/yaml"})
        assert made.status_code == 201, made.text
        assert made.json()["object"]["spec"]["parallelism"] == 1, "defaults are filled in"
        assert http.post(ALL, json=job("by-json")).status_code == 409
    assert site.kube("GET", f"{JOBS}/by-yaml")["metadata"]["managedFields"][0]["manager"] == "carryon"


def test_a_dry_run_says_the_same_and_makes_nothing(site: Site) -> None:
    with site.http(EDITOR) as http:
        assert http.post(ALL, params={"dryRun": "true"}, json=job("only-tried")).status_code == 201
        assert http.get(f"{ALL}/only-tried").status_code == 404


def test_what_kubernetes_refuses_is_told_field_by_field(site: Site) -> None:
    with site.http(EDITOR) as http:
        answer = http.post(ALL, json=job("wrong", parallelism=-1, nonsense=1))
        assert answer.status_code in (400, 422)
        assert "nonsense" in answer.text
        answer = http.post(ALL, json=job("wrong", parallelism=-1, unitsPerPod=0))
    assert answer.status_code == 422
    assert {each["field"] for each in answer.json()["errors"]} == {"spec.parallelism", "spec.unitsPerPod"}


def test_an_edit_is_refused_where_somebody_else_was_faster(site: Site, make: Make) -> None:
    make("edited")
    with site.http(EDITOR) as http:
        first, second = (http.get(f"{ALL}/edited").json()["object"] for _ in range(2))
        assert "managedFields" not in first["metadata"]
        first["spec"]["parallelism"], second["spec"]["parallelism"] = 5, 6
        assert http.put(f"{ALL}/edited", json=first).json()["object"]["spec"]["parallelism"] == 5
        stale = http.put(f"{ALL}/edited", json=second)
        assert (stale.status_code, stale.json()["type"].rpartition("/")[2]) == (409, "conflict")
        del second["metadata"]["resourceVersion"]
        assert "resourceVersion is missing" in http.put(f"{ALL}/edited", json=second).json()["detail"]
        second["metadata"] |= {"name": "other", "resourceVersion": "1"}
        assert "a job keeps its name" in http.put(f"{ALL}/edited", json=second).json()["detail"]


def test_what_one_replica_was_told_the_other_knows_at_once(tmp_path: Any) -> None:
    with Site(tmp_path, replicas=2) as two, two.http(EDITOR) as one, two.http(EDITOR, replica=1) as other:
        for name in ("a", "b", "c"):
            assert one.post(ALL, json=job(name)).status_code == 201
            assert other.get(f"{ALL}/{name}").status_code == 200
            assert other.post(f"{ALL}/{name}/pause").json()["already"] is False
            assert one.post(f"{ALL}/{name}/pause").json()["already"] is True
            assert one.delete(f"{ALL}/{name}").status_code == 202
            assert other.get(f"{ALL}/{name}").status_code == 404


def test_a_list_is_filtered_and_comes_in_pages(site: Site, make: Make) -> None:
    for index in range(3):
        make(f"paged-{index}", {"phase": "Running"})
    make("paged-done", {"phase": "Succeeded", "conditions": [condition("Finished"), condition("Succeeded")]})
    with site.http(VIEWER) as http:
        first = http.get("/api/v1/jobs", params={"search": "paged", "limit": 3}).json()
        assert (len(first["items"]), first["total"]) == (3, 4)
        rest = http.get("/api/v1/jobs", params={"search": "paged", "limit": 3, "continue": first["continue"]}).json()
        assert ([each["name"] for each in rest["items"]], rest["continue"]) == (["paged-done"], None)
        active = http.get("/api/v1/jobs", params={"search": "paged", "active": "false"}).json()
        assert [each["phase"] for each in active["items"]] == ["Succeeded"]
        assert http.get("/api/v1/jobs", params={"limit": 0}).status_code == 422
        assert http.get("/api/v1/jobs", params={"labelSelector": "=="}).status_code == 400


def test_the_process_status_says_how_far_a_job_is_and_what_can_be_done(site: Site, make: Make) -> None:
    make("watched", RUNNING, items={"count": 15})
    with site.http(VIEWER) as http:
        found = http.get(f"{ALL}/watched/process-status").json()
    assert (found["phase"], found["progress"]) == ("Running", "9/15")
    (stage,) = found["stages"]
    assert stage["ranges"] == {
        "succeeded": "0-8",
        "failed": "9",
        "skipped": "",
        "active": "10-11",
        "waitingForApproval": "",
    }
    assert (stage["done"], stage["failed"], stage["total"], stage["each"]) == (9, 1, 15, "item")
    assert stage["active"] == [{"pod": "reel-abc-1", "units": "10-11", "attempt": 1, "since": NOW}]
    assert found["counters"]["disruptions"] == 3
    assert found["gpuSeconds"]["saved"] == 30
    assert found["recentFailures"][0]["reason"] == "OutOfMemory"
    assert set(found["actions"]) == {
        "resume", "pause", "restart", "cancel", "retry", "redo", "approve", "edit", "delete",
    }  # fmt: skip
    assert found["actions"]["retry"] == {
        "possible": True,
        "reason": "1 unit failed for good: retry gives it 3 attempts",
        "action": "carryon retry watched",
        "label": "Retry failed (1)",
        "already": False,
    }
    assert found["resume"]["reason"] == found["actions"]["resume"]["reason"]
    # No bucket is known here, so nobody has timed a unit.
    assert found["eta"] is None
    assert found["etaReason"] == 'no unit of stage "clip" is done yet, so nobody knows how long one takes'


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [condition("Finished"), condition("Succeeded")]}, "it has ended"),
        ({"conditions": [condition("Suspended")]}, "it is suspended"),
        ({"conditions": [condition("Stalled")]}, "it waits for a person"),
        ({}, "its units are not known yet"),
    ],
)
def test_a_job_that_does_not_move_has_no_estimate(site: Site, make: Make, status: Any, reason: str) -> None:
    name = f"still-{abs(hash(reason)) % 10**6}"
    make(name, status)
    with site.http(VIEWER) as http:
        found = http.get(f"{ALL}/{name}/process-status").json()
    assert (found["eta"], found["etaReason"]) == (None, reason)


def test_resume_status_says_what_is_kept_and_what_would_be_made(site: Site, make: Make) -> None:
    make("asleep", {**RUNNING, "conditions": [condition("Suspended")]}, items={"count": 15}, suspend=True)
    with site.http(VIEWER) as http:
        found = http.get(f"{ALL}/asleep/resume-status").json()
    assert found == {
        "possible": True,
        "reason": "suspended; 9 units done, which are kept",
        "action": "carryon resume asleep (6 remaining)",
        "remaining": 6,
        "kept": 9,
    }


def test_an_action_is_carried_out_once_and_answered_every_time(site: Site, make: Make) -> None:
    make("acted", RUNNING, items={"count": 15})
    with site.http(EDITOR) as http:
        first = http.post(f"{ALL}/acted/pause")
        assert first.status_code == 202
        assert first.json()["message"] == "Pausing: 2 units at work are saved first"
        again = http.post(f"{ALL}/acted/pause").json()
        assert again["already"] is True
        assert again["resourceVersion"] == first.json()["resourceVersion"], "nothing was sent"
        resumed = http.post(f"{ALL}/acted/resume").json()
        assert resumed["message"] == "Resumed: 9 kept, 6 to make"
        stored = site.kube("GET", f"{JOBS}/acted")
        assert stored["spec"]["suspend"] is False
        assert stored["metadata"]["annotations"]["carryon.dev/resume-requested-at"] == resumed["echo"]


def test_two_who_press_at_once_ask_once(site: Site, make: Make) -> None:
    from concurrent.futures import ThreadPoolExecutor

    make("pressed", RUNNING, items={"count": 15})
    with site.http(EDITOR) as http, ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda _: http.post(f"{ALL}/pressed/restart").json(), range(8)))
    assert [each["already"] for each in answers].count(False) == 1
    assert len({each["echo"] for each in answers if each["echo"]}) == 1


def test_what_a_job_does_not_allow_is_refused_with_the_reason_and_what_would_help(site: Site, make: Make) -> None:
    make("over", {**RUNNING, "conditions": [condition("Suspended")]}, items={"count": 15}, suspend=True)
    with site.http(EDITOR) as http:
        refused = http.post(f"{ALL}/over/restart")
        assert refused.status_code == 409
        assert refused.json()["detail"] == "over: it is suspended: there is no pod to restart; resume it"
        assert refused.json()["action"] == "carryon resume over"
        assert http.post(f"{ALL}/over/retry", json={"units": ["clip/99"]}).status_code == 404
        assert http.post(f"{ALL}/over/retry", json={"units": ["clip/0"]}).status_code == 409
        assert http.post(f"{ALL}/over/pause", json={"until": "2001-01-01T00:00:00Z"}).status_code == 400
        assert http.post(f"{ALL}/over/pause", json={"untill": "8h"}).status_code == 422
        assert http.post(f"{ALL}/none/pause").status_code == 404
        assert http.post(f"{ALL}/over/approve", json={"stage": "clip"}).status_code == 422


def test_a_wrong_value_of_a_body_is_named_once_in_words_for_people(site: Site, make: Make) -> None:
    make("asked", RUNNING, items={"count": 15})
    with site.http(EDITOR) as http:
        wrong = http.post(f"{ALL}/asked/redo", json={"unit": "clip/1", "seed": "7"})
        assert wrong.json()["errors"] == [{"field": "seed", "message": "Input should be a valid integer"}]
        nested = http.post(f"{ALL}/asked/retry", json={"units": ["clip/1", 7]})
        assert nested.json()["detail"] == "units.1: Input should be a valid string"
        # JSON knows one kind of number.
        assert http.post(f"{ALL}/asked/redo", json={"unit": "clip/1", "seed": 7.0}).status_code == 202


def test_a_job_whose_secret_is_gone_can_still_be_paused_and_deleted(site: Site, make: Make) -> None:
    make("keyless", RUNNING, items={"count": 15}, output=OUTPUT)
    with site.http(EDITOR) as http:
        assert http.get(f"{ALL}/keyless/process-status").json()["progress"] == "9/15"
        assert http.post(f"{ALL}/keyless/pause").status_code == 202
        assert http.delete(f"{ALL}/keyless").status_code == 202


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [("bytes", "//8=", "holds blanks"), ("line", "YWIK", "echo alone adds a line break"), ("empty", "", "add it")],
)
def test_a_secret_that_holds_no_keys_is_named_wherever_the_bucket_is_needed(
    site: Site, make: Make, name: str, key: str, said: str
) -> None:
    data = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "eA=="}
    site.kube("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": name}, "data": data})
    make(name, RUNNING, items={"count": 15}, output={**OUTPUT, "credentialsSecret": {"name": name}})
    with site.http(EDITOR) as http:
        assert http.get(f"{ALL}/{name}/process-status").json()["progress"] == "9/15"
        refused = http.get(f"{ALL}/{name}/units/clip/0")
    assert (refused.status_code, said in refused.json()["detail"]) == (502, True)
    assert f'Secret "{name}"' in refused.json()["detail"]


def test_keys_that_were_changed_are_used_though_the_job_was_not(site: Site, make: Make) -> None:
    path = "/api/v1/namespaces/default/secrets"
    data = {"AWS_ACCESS_KEY_ID": "b25l", "AWS_SECRET_ACCESS_KEY": "eA=="}
    site.kube("POST", path, {"metadata": {"name": "rotated"}, "data": data})
    make("rotating", RUNNING, items={"count": 15}, output={**OUTPUT, "credentialsSecret": {"name": "rotated"}})
    cluster = site.apps[0].state.cluster
    record = cluster.job("default", "rotating")

    async def key() -> str:
        found = (await cluster.outside(record)).keys
        return found.access_key_id

    assert site.run(key) == "one"
    site.kube("PATCH", f"{path}/rotated", {"data": {"AWS_ACCESS_KEY_ID": "dHdv"}})
    cluster._secrets._kept.clear()  # half a minute later
    assert site.run(key) == "two"


def test_a_job_without_an_output_is_read_with_the_default_stores_keys(site: Site, make: Make) -> None:
    data = {"AWS_ACCESS_KEY_ID": "aG91c2U=", "AWS_SECRET_ACCESS_KEY": "eA=="}
    site.kube("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "house"}, "data": data})
    make("homely", RUNNING, items={"count": 15})
    cluster = site.apps[0].state.cluster
    record, ours = cluster.job("default", "homely"), cluster.config

    async def keys() -> Any:
        return (await cluster.outside(record)).keys

    assert site.run(keys) is None
    cluster.config = replace(ours, default_store_secret="house")
    try:
        found = site.run(keys)
    finally:
        cluster.config = ours
    assert found.access_key_id == "house"


def test_a_unit_is_made_anew_with_what_was_asked_for(site: Site, make: Make) -> None:
    items = {"list": [{"id": "dunes", "params": {"prompt": "sand"}}]}
    stage = {"name": "clip", "generate": {"command": {"args": ["{{ item.prompt }}"]}}}
    make("again", {**RUNNING, "units": {"total": 1, "succeeded": 1}}, items=items, stages=[stage])
    with site.http(EDITOR) as http:
        done = http.post(f"{ALL}/again/redo", json={"unit": "clip/dunes", "params": {"prompt": "rain"}, "seed": 5})
    assert done.json()["message"] == 'Redoing clip/dunes with prompt "rain", seed 5: the one before is kept'
    overrides = site.kube("GET", f"{JOBS}/again")["spec"]["overrides"]
    assert overrides == [{"stage": "clip", "item": "dunes", "params": {"prompt": "rain", "seed": 5}}]


def test_a_batch_answers_for_each_job(site: Site, make: Make) -> None:
    for name in ("batch-a", "batch-b"):
        make(name, RUNNING, items={"count": 15})
        site.kube("PATCH", f"{JOBS}/{name}", {"metadata": {"labels": {"team": "art"}}})
    site.kube("PATCH", f"{JOBS}/batch-b", {"spec": {"suspend": True}})
    make("batch-c", {**RUNNING, "conditions": [condition("Finished"), condition("Succeeded")]}, items={"count": 15})
    body = {"action": "pause", "namespace": "default", "names": ["batch-a", "batch-b", "batch-c", "batch-d"]}
    with site.http(EDITOR) as http:
        results = http.post("/api/v1/batch", json=body).json()["results"]
        assert [each["outcome"] for each in results] == ["accepted", "already", "refused", "notFound"]
        assert results[2]["detail"] == "batch-c: it has succeeded: there is nothing to pause"

        def selected() -> list[Any]:
            wanted = {"action": "delete", "namespace": "default", "labelSelector": "team=art"}
            return http.post("/api/v1/batch", json=wanted).json()["results"]

        assert [each["outcome"] for each in selected()] == ["accepted", "accepted"]
        for wrong in (
            {"action": "pause", "namespace": "default"},
            {"action": "pause", "namespace": "default", "names": ["a"], "labelSelector": "a=b"},
            {"action": "restart", "namespace": "default", "names": ["a"], "params": {"x": 1}},
            {"action": "pause", "namespace": "default", "names": ["a"], "params": {"untill": "8h"}},
            {"action": "explode", "namespace": "default", "names": ["a"]},
        ):
            assert http.post("/api/v1/batch", json=wrong).status_code == 422, wrong


def findings(site: Site, manifest: Any, token: str = EDITOR) -> tuple[bool, list[tuple[str, str]]]:
    with site.http(token) as http:
        answer = http.post("/api/v1/validate", json=manifest)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["valid"], [(each["severity"], each["message"]) for each in found["findings"]]


OUTPUT = {"uri": "s3://bucket/reels", "credentialsSecret": {"name": "keys"}}


def test_a_manifest_that_is_right_has_no_finding_and_makes_no_job(site: Site) -> None:
    assert findings(site, job("checked", output=OUTPUT)) == (True, [])
    with site.http(EDITOR) as http:
        assert http.get(f"{ALL}/checked").status_code == 404


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"parallelism": -1}, "should be greater than or equal to 0"),
        ({"nonsense": 1}, "nonsense"),
        (
            {"stages": [{"name": "clip", "generate": {"command": {"args": ["{{ item.promt }}"]}}}]},
            "names item.promt",
        ),
        ({"output": {"uri": "s3://bucket/reels", "endpoint": "http://169.254.169.254"}}, "metadata addresses"),
        ({"output": {"uri": "file:///etc"}}, "keeps nothing in folders"),
        ({"output": {"uri": "s3://others/reels"}}, "credentialsSecret"),
        (
            {"items": {"from": {"configMapKeyRef": {"name": "rows", "key": "x"}, "format": "csv"}}},
            'there is no ConfigMap "rows"',
        ),
    ],
)
def test_what_would_be_refused_is_said_before_it_is_sent(site: Site, spec: dict[str, Any], said: str) -> None:
    valid, found = findings(site, job("checked", **{"output": OUTPUT, **spec}))
    assert not valid
    assert any(severity == "error" and said in message for severity, message in found), found


def test_who_may_not_make_jobs_still_hears_what_is_wrong_with_the_units(site: Site) -> None:
    stage = {"name": "clip", "generate": {"command": {"args": ["{{ item.promt }}"]}}}
    valid, found = findings(site, job("checked", output=OUTPUT, stages=[stage]), VIEWER)
    assert not valid
    assert found[0][0] == "note"
    assert "item.promt" in found[1][1]


def test_items_of_a_config_map_are_read_with_the_callers_own_rights(site: Site) -> None:
    rows = {"metadata": {"name": "rows"}, "data": {"x": "id,p\na,1\n"}}
    site.kube("POST", "/api/v1/namespaces/default/configmaps", rows)
    source = {"configMapKeyRef": {"name": "rows", "key": "x"}, "format": "csv"}
    stage = {"name": "clip", "generate": {"command": {"args": ["{{ item.q }}"]}}}
    manifest = job("checked", output=OUTPUT, items={"from": source}, stages=[stage])
    assert "item.q" in findings(site, manifest)[1][0][1]
    _, found = findings(site, manifest, VIEWER)
    assert all("item.q" not in message for _, message in found), "a viewer may not read ConfigMaps here"


def test_analytics_add_up_what_came_of_the_jobs_that_exist(tmp_path: Any) -> None:
    with Site(tmp_path) as own, own.http(ADMIN) as http:
        ended = {
            **RUNNING,
            "units": {"total": 15, "succeeded": 14, "failed": 1},
            "stages": [{"name": "clip", "succeeded": "0-13", "started": NOW, "finished": "2026-11-21T18:07:00Z"}],
        }
        for name, kinds in (("a", ("Finished", "Succeeded")), ("b", ("Finished", "Failed")), ("c", ())):
            own.kube("POST", JOBS, job(name))
            own.status(name, {**ended, "conditions": [condition(kind) for kind in kinds]})

        def found() -> Any:
            answer = http.get("/api/v1/analytics").json()
            return answer if answer["units"]["total"] == 45 and answer["jobs"]["failed"] else None

        known = own.until(found, "all three are known")
    assert known["jobs"] == {
        "total": 3,
        "active": 1,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 0,
        "successRate": 0.5,
    }
    assert known["units"]["successRate"] == pytest.approx(42 / 45, abs=1e-4)
    assert known["retries"]["disruptions"] == 9
    assert known["retries"]["reasons"] == {"OutOfMemory": 3}
    assert known["gpuSeconds"]["saved"] == 90
    assert known["stages"] == [{"stage": "clip", "jobs": 3, "units": 42, "meanSeconds": 420.0, "secondsPerUnit": 30.0}]


def test_what_is_counted_is_told_to_those_who_may_know(site: Site) -> None:
    with site.http(ADMIN) as http:
        http.get("/api/v1/jobs")
        text = http.get("/metrics").text
    assert 'carryon_api_requests_total{method="GET",route="/api/v1/jobs",status="200"}' in text
    assert "carryon_api_jobs " in text


def test_pages_of_others_may_ask_with_a_token_where_they_are_named(tmp_path: Any) -> None:
    origin = "https://studio.example.com"
    with Site(tmp_path, cors_origins=(origin,)) as open_site, open_site.http(Origin=origin) as http:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = http.options(f"{ALL}/reel/pause", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in allowed.headers
        answer = http.get("/api/v1/jobs", headers={"Authorization": f"Bearer {VIEWER}"})
        assert answer.headers["access-control-allow-origin"] == origin
        other = http.get("/api/v1/jobs", headers={"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in other.headers


def test_without_a_word_nothing_is_there_for_pages_of_others(site: Site) -> None:
    with site.http(VIEWER, Origin="https://studio.example.com") as http:
        assert "access-control-allow-origin" not in http.get("/api/v1/jobs").headers
