"""A job whose bucket is S3: operator and workers with the keys of a Secret in the job's namespace."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import Stores
from plane import Job, Plane, condition, succeeded
from reels import contents_hold, finished, reel

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path / "plane").start()
    yield made
    made.kill()


def accepted(plane: Plane, name: str) -> dict[str, str]:
    conditions = (plane.get(name).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Accepted"), {})


def test_a_reel_waits_for_its_secret_and_is_made_in_s3(plane: Plane, s3_config: StoreConfig, stores: Stores) -> None:
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

    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
    plane.request("POST", SECRETS, {"metadata": {"name": "keys"}, "data": encoded})
    plane.patch("reel", {"metadata": {"annotations": {"touched": "now"}}})
    plane.wait_for("reel", succeeded)
    store = stores.open(s3_config)
    made = finished(store, job)
    assert len(made) == 4
    assert all(contents_hold(store, at, unit.done) for at, unit in made.items())
    assert all(value not in str(plane.get("reel")) for value in keys.values() if len(value) > 10)


def test_a_bucket_that_does_not_answer_is_an_outage_and_not_an_empty_bucket(plane: Plane) -> None:
    output = {"uri": "s3://nowhere/x", "endpoint": "http://127.0.0.1:9"}
    plane.apply(reel("reel", clips=2, output=output))

    def told(job: Job) -> bool:
        return "until the bucket answers" in (job.get("status") or {}).get("message", "")

    job = plane.wait_for("reel", told)
    assert not condition(job, "Progressing")
    assert plane.pods("reel") == []
