"""What a webhook is sent: a CloudEvent without a word of the user's, signed so that its receiver can tell."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from carryon_core.notifications import Counts, Notification
from carryon_operator.notify.message import ForeignId, SecretUnusable, headers, page_of, payload, signing_keys

TOLD = Notification(
    hook=0,
    url="0123456789ab",
    id="uid-succeeded-1700000000",
    condition="Succeeded",
    reason="AllUnitsDone",
    phase="Succeeded",
    time="2023-11-14T22:13:20Z",
    units=Counts(total=15, succeeded=15),
)
JOB: dict[str, Any] = {
    "metadata": {"namespace": "studio", "name": "reel-42", "uid": "uid", "labels": {"secret": "label"}},
    "spec": {"items": {"list": [{"id": "secret-id", "params": {"prompt": "a secret prompt"}}]}},
    "status": {
        "time": {"started": "2023-11-14T22:00:00Z"},
        "message": "secret message",
        "recentFailures": [{"message": "secret failure"}],
    },
}


def test_the_signature_is_the_one_of_the_standards_own_test() -> None:
    """libraries/python/tests/test_webhooks.py of standard-webhooks/standard-webhooks."""
    keys = signing_keys("hook", "key", {"key": b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    made = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', keys, 1614265330.9)
    assert made == {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_changed_both_sign() -> None:
    old, new = (base64.b64encode(bytes([each]) * 32).decode() for each in b"ab")
    (one,) = signing_keys("hook", "key", {"key": f"whsec_{old}".encode()})
    both = signing_keys("hook", "key", {"key": f"whsec_{new} whsec_{old}\n".encode()})
    signatures = headers("id", b"{}", both, 0)["webhook-signature"].split()
    assert len(signatures) == 2
    assert headers("id", b"{}", [one], 0)["webhook-signature"] == signatures[1]


def test_without_a_secret_there_is_no_signature() -> None:
    assert "webhook-signature" not in headers("id", b"{}", [], 0)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, 'Secret "hook" has no key: add it, or name its key'),
        (b" \n", 'Secret "hook" has no key: add it, or name its key'),
        (b"whsec_" + base64.b64encode(b"x" * 23), "it must be whsec_ and 24 to 64 bytes in base64"),
        (b"whsec_" + base64.b64encode(b"x" * 65), "it must be whsec_ and 24 to 64 bytes in base64"),
        (b"correct horse battery staple", "it must be whsec_ and 24 to 64 bytes in base64"),
        (b"\xff\xfe", "it must be whsec_ and 24 to 64 bytes in base64"),
    ],
)
def test_a_secret_that_signs_nothing_is_named(value: bytes | None, sentence: str) -> None:
    with pytest.raises(SecretUnusable) as error:
        signing_keys("hook", "key", {"key": value} if value is not None else {})
    assert sentence in str(error.value)
    assert value is None or not value.strip() or value.decode("utf-8", "replace") not in str(error.value)


@pytest.mark.parametrize("id_", ["a.b", "a\r\nX-Evil: 1", "", "x" * 254, "ä"])
def test_an_id_that_would_break_what_is_signed_is_refused(id_: str) -> None:
    with pytest.raises(ForeignId, match="not one of ours"):
        headers(id_, b"{}", [], 0)


def test_the_event_is_a_cloudevent_that_says_what_became_of_the_job() -> None:
    assert json.loads(payload(JOB, TOLD, "https://carryon.example/")) == {
        "specversion": "1.0",
        "id": "uid-succeeded-1700000000",
        "source": "/apis/carryon.dev/v1alpha1/namespaces/studio/generationjobs/reel-42",
        "type": "dev.carryon.generationjob.succeeded",
        "subject": "studio/reel-42",
        "time": "2023-11-14T22:13:20Z",
        "datacontenttype": "application/json",
        "data": {
            "namespace": "studio",
            "name": "reel-42",
            "uid": "uid",
            "condition": "Succeeded",
            "reason": "AllUnitsDone",
            "phase": "Succeeded",
            "units": {"total": 15, "succeeded": 15, "failed": 0, "remaining": 0},
            "started": "2023-11-14T22:00:00Z",
            "finished": "2023-11-14T22:13:20Z",
            "url": page_of("https://carryon.example", "studio", "reel-42"),
        },
    }


def test_no_prompt_param_id_label_or_message_is_sent() -> None:
    assert b"secret" not in payload(JOB, TOLD, None)


def test_every_attempt_sends_the_same() -> None:
    again = TOLD.model_copy(update={"attempts": 3, "result": "HTTP 503", "next": "2023-11-14T23:00:00Z"})
    later = {**JOB, "status": {**JOB["status"], "phase": "Running", "units": {"total": 99}}}
    assert payload(JOB, TOLD, None) == payload(later, again, None)
