"""Webhooks by the real operator as a process: told although receiver and operator were away, under one id."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from plane import Job, Plane, failed, succeeded, suspended, until
from receiver import Receiver
from reels import reel
from relays import relay

KEY = "whsec_" + base64.b64encode(b"not so secret, but long enough").decode()
SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def secret(plane: Plane) -> Iterator[str]:
    data = {"key": base64.b64encode(KEY.encode()).decode()}
    plane.request("POST", SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "data": data})
    yield "hook"
    plane.request("DELETE", f"{SECRETS}/hook")


def told(job: Job, condition: str, state: str) -> bool:
    kept = (job.get("status") or {}).get("notifications") or ()
    return any((each["condition"], each["state"]) == (condition, state) for each in kept)


def tried(job: Job) -> bool:
    return any(each["attempts"] for each in (job.get("status") or {}).get("notifications") or ())


def hooked(name: str, url: str, **fields: Any) -> dict[str, Any]:
    return reel(
        name, clips=2, seconds=0, notify=[{"url": url, "signingSecret": {"name": "hook", "key": "key"}}], **fields
    )


def test_a_receiver_that_was_away_is_told_by_the_next_operator(plane: Plane, receiver: Receiver, secret: str) -> None:
    plane.apply(hooked("away", receiver.url()))
    plane.wait_for("away", lambda job: succeeded(job) and tried(job))
    assert told(plane.get("away"), "Succeeded", "Pending")
    plane.component("operator").kill()
    receiver.start()
    job = plane.wait_for("away", lambda job: told(job, "Succeeded", "Delivered"))
    (got,) = receiver.received
    assert relay().verify(got.headers, got.body, KEY) == got.event
    assert got.event["type"] == "dev.carryon.generationjob.succeeded"
    assert got.event["data"]["units"] == {"total": 2, "succeeded": 2, "failed": 0, "remaining": 0}
    assert got.event["data"]["uid"] == job["metadata"]["uid"]
    (kept,) = job["status"]["notifications"]
    assert kept["id"] == got.headers["webhook-id"]
    assert kept["attempts"] >= 2


def test_an_operator_killed_in_the_middle_of_telling_tells_again_under_the_same_id(
    plane: Plane, receiver: Receiver, secret: str
) -> None:
    receiver.hold = True
    receiver.start()
    plane.apply(hooked("held", receiver.url(), suspend=True))
    plane.wait_for("held", suspended)
    until(lambda: len(receiver.received) == 1)
    plane.component("operator").kill()
    receiver.hold = False
    job = plane.wait_for("held", lambda job: told(job, "Suspended", "Delivered"))
    assert len(receiver.received) >= 2
    assert {got.headers["webhook-id"] for got in receiver.received} == {job["status"]["notifications"][0]["id"]}
    assert {got.body for got in receiver.received} == {receiver.received[0].body}

    # And what comes next is told as well, each once: nothing was killed.
    before = len(receiver.received)
    plane.patch("held", {"spec": {"suspend": False}})
    plane.wait_for("held", lambda job: told(job, "Succeeded", "Delivered"))
    assert [got.event["type"] for got in receiver.received[before:]] == ["dev.carryon.generationjob.succeeded"]


def test_a_webhook_that_nobody_takes_is_an_event_and_the_job_is_none_the_worse(
    plane: Plane, receiver: Receiver, secret: str
) -> None:
    receiver.answers.append(404)
    receiver.start()
    plane.apply(
        hooked(
            "refused",
            receiver.url(),
            stages=[{"name": "a", "generate": {"command": {"args": ["false"]}}}],
            retry={"perUnit": 1, "rounds": 0},
        )
    )
    plane.wait_for("refused", lambda job: failed(job) and told(job, "Failed", "GivenUp"))
    until(
        lambda: any(
            event["reason"] == "NotificationFailed" and "HTTP 404" in event["message"]
            for event in plane.request("GET", "/api/v1/namespaces/default/events")["items"]
        )
    )
    assert len(receiver.received) == 1
