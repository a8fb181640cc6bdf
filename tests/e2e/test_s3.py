"""A job whose bucket is S3: operator and workers with the keys of a Secret in the job's namespace."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_store import Stores
from plane import JOBS, Job, Plane, claim, condition, succeeded, units_done, until
from reels import begun_units, contents_hold, finished, reel, stage

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def plane(tmp_path: Path, intervals: dict[str, str]) -> Iterator[Plane]:
    made = Plane(tmp_path / "plane", environment=intervals).start()
    yield made
    made.kill()


@pytest.fixture
def keys() -> dict[str, Any]:
    """A Secret with the keys of the bucket."""
    known = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in known.items()}
    return {"metadata": {"name": "keys"}, "data": encoded}


@pytest.fixture
def secret(plane: Plane, keys: dict[str, Any]) -> dict[str, str]:
    """That Secret in the namespace of jobs, as `credentialsSecret` names it."""
    plane.request("POST", SECRETS, keys)
    return {"name": "keys"}


def accepted(plane: Plane, name: str) -> dict[str, str]:
    conditions = (plane.get(name).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Accepted"), {})


def test_a_reel_waits_for_its_secret_and_is_made_in_s3(
    plane: Plane, s3_config: StoreConfig, stores: Stores, keys: dict[str, Any]
) -> None:
    plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
    plane.request("POST", "/api/v1/namespaces/elsewhere/secrets", keys)
    output = {"uri": s3_config.uri, "endpoint": s3_config.endpoint, "credentialsSecret": {"name": "keys"}}
    job = reel("reel", clips=4, seconds=0.1, output=output, unitsPerPod=2)
    plane.apply(job)
    plane.wait_for("reel", lambda found: accepted(plane, "reel").get("status") == "False")
    told = accepted(plane, "reel")
    assert told["reason"] == "SecretNotFound"
    assert told["message"] == (
        'spec.output.credentialsSecret: there is no Secret "keys" in namespace "default": create it, or name another'
    )
    assert plane.pods("reel") == []

    plane.request("POST", SECRETS, keys)
    plane.patch("reel", {"metadata": {"annotations": {"touched": "now"}}})
    plane.wait_for("reel", succeeded)
    store = stores.open(s3_config)
    made = finished(store, job)
    assert len(made) == 4
    assert all(contents_hold(store, at, unit.done) for at, unit in made.items())
    secrets = [os.environ[name] for name in keys["data"]]
    assert all(value not in str(plane.get("reel")) for value in secrets if len(value) > 10)


def test_a_bucket_that_does_not_answer_is_an_outage_and_not_an_empty_bucket(plane: Plane) -> None:
    output = {"uri": "s3://nowhere/x", "endpoint": "http://127.0.0.1:9"}
    plane.apply(reel("reel", clips=2, output=output))

    def told(job: Job) -> bool:
        return "until the bucket answers" in (job.get("status") or {}).get("message", "")

    job = plane.wait_for("reel", told)
    assert not condition(job, "Progressing")
    assert plane.pods("reel") == []


def test_a_job_takes_rows_and_files_from_s3_keeps_logs_there_and_takes_all_of_it_along(
    plane: Plane, begun: Path, s3_config: StoreConfig, stores: Stores, secret: dict[str, str]
) -> None:
    store = stores.open(s3_config)
    store.put("in/ada.txt", b"ada", content_type="text/plain")
    rows = [{"id": each, "photo": {"file": f"{s3_config.uri}/in/ada.txt"}} for each in ("ada", "alan")]
    store.put("in/rows.jsonl", json.dumps(rows[0]).encode(), content_type="text/plain")
    output = {"uri": s3_config.uri, "endpoint": s3_config.endpoint, "credentialsSecret": secret, "onDelete": "Delete"}
    job = reel("posts", output=output, retry={"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}})
    script = f"""
        if [ "$(grep -c post/ada {begun})" = 1 ]; then echo "no ink" >&2; exit 3; fi
        cp "$1" "$CARRYON_OUTPUT/post.txt"
    """
    job["spec"].update(
        items={"from": {"uri": f"{s3_config.uri}/in/rows.jsonl", "format": "jsonl"}},
        stages=[stage("post", begun, script, "{{ item.photo }}")],
    )
    plane.apply(job)
    plane.wait_for("posts", succeeded)
    (log,) = [each.key for each in store.list("default/posts/post/") if each.key.endswith(".log")]
    assert b"no ink" in store.get(log)

    store.put("in/rows.jsonl", b"\n".join(json.dumps(row).encode() for row in rows), content_type="text/plain")
    plane.wait_for("posts", lambda found: found["status"]["progress"] == "2/2" and succeeded(found))
    assert begun_units(begun) == ["post/ada", "post/ada", "post/alan"]
    posts = [each.key for each in store.list("default/posts/post/") if each.key.endswith(".txt")]
    assert [store.get(key) for key in posts] == [b"ada", b"ada"]

    plane.delete("posts")
    until(lambda: plane.request("GET", JOBS)["items"] == [])
    assert [each.key for each in store.list("default/posts/")] == []
    assert [each.key for each in store.list("in/")] == ["in/ada.txt", "in/rows.jsonl"], "what it was given stays"


def test_what_a_lifecycle_rule_took_is_told_and_made_again_only_when_somebody_asks(
    plane: Plane, begun: Path, s3_config: StoreConfig, stores: Stores, secret: dict[str, str]
) -> None:
    store = stores.open(s3_config)
    output = {"uri": s3_config.uri, "endpoint": s3_config.endpoint, "credentialsSecret": secret}
    job = reel("expired", output=output)
    script = 'echo clip > "$CARRYON_OUTPUT/clip.txt"'
    job["spec"].update(items={"count": 4}, unitsPerPod=2, stages=[stage("clip", begun, script)])
    plane.apply(job)
    plane.wait_for("expired", succeeded)
    # A rule for the artifacts of two clips: their done.json stay.
    for item in ("1", "2"):
        for each in list(store.list(f"default/expired/clip/{item}/")):
            if each.key.endswith(".txt"):
                store.delete(each.key)
    seen = plane.wait_for("expired", lambda found: "2 units" in claim(found, "ArtifactsMissing").get("message", ""))
    assert succeeded(seen)
    assert condition(seen, "ArtifactsMissing")
    assert len(begun_units(begun)) == 4
    plane.annotate("expired", names.ANNOTATION_RESUME, "please")
    plane.wait_for("expired", lambda found: succeeded(found) and not condition(found, "ArtifactsMissing"))
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/1", "clip/2", "clip/2", "clip/3"]
    assert len(finished(store, job)) == 4


def test_a_bucket_that_goes_away_while_clips_are_made_unmakes_nothing(
    plane: Plane, begun: Path, tmp_path: Path, secret: dict[str, str]
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="fragile")
    output = {"uri": "s3://fragile/x", "endpoint": endpoint, "credentialsSecret": secret}
    job = reel("patient", output=output, retry={"perUnit": 3, "rounds": 0, "backoff": {"initial": "1s"}})
    waits = f'while [ "$CARRYON_ITEM" -gt 2 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; '
    script = waits + 'echo clip > "$CARRYON_OUTPUT/clip.txt"'
    job["spec"].update(items={"count": 6}, stages=[stage("clip", begun, script)])
    try:
        plane.apply(job)
        plane.wait_for("patient", lambda found: units_done(found) == 3)
        until(lambda: len(begun_units(begun)) == 6)
        server.stop()
        seen = plane.wait_for("patient", lambda found: claim(found, "Progressing").get("reason") == "BucketUnreachable")
        assert seen["status"]["progress"] == "3/6", "an outage is no verdict"
        assert len(plane.pods("patient")) == 3, "who is at work goes on"
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        (tmp_path / "go").touch()
        status = plane.wait_for("patient", succeeded, 120)["status"]
    finally:
        server.stop()
    assert status["progress"] == "6/6"
    assert begun_units(begun) == [f"clip/{item}" for item in range(6)]
