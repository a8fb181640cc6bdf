"""What a webhook is sent: a CloudEvent, signed as Standard Webhooks says.

CloudEvents 1.0 (JSON event format, structured mode) and Standard Webhooks 1.0.0 (standardwebhooks.com). There are no
prompts, params, ids of items and texts of errors in it: receivers are other people's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from carryon_core import names
from carryon_core.notifications import Notification

CONTENT_TYPE: Final = "application/cloudevents+json"
_TYPE: Final = "dev.carryon.generationjob"
_PREFIX: Final = "whsec_"
_SHORTEST, _LONGEST = 24, 64
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,253}")


class ForeignId(Exception):
    """An id that this operator did not make."""


class SecretUnusable(Exception):
    """What should be a signing secret is none; says what to change."""


def payload(job: Mapping[str, Any], told: Notification, page_url: str | None) -> bytes:
    """The event as JSON; the same bytes in every attempt.

    Args:
        job: As the API server shows it.
        told: What to tell of it.
        page_url: Where people see jobs, None where no such page is known.
    """
    metadata = job["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    times = (job.get("status") or {}).get("time") or {}
    ended = told.condition in ("Succeeded", "Failed")
    data = {
        "namespace": namespace,
        "name": name,
        "uid": metadata["uid"],
        "condition": told.condition,
        "reason": told.reason,
        "phase": told.phase,
        "units": told.units.model_dump(by_alias=True) if told.units else None,
        "started": times.get("started"),
        "finished": told.time if ended else None,
        "url": page_of(page_url, namespace, name) if page_url else None,
    }
    event = {
        "specversion": "1.0",
        "id": told.id,
        "source": f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}/{name}",
        "type": f"{_TYPE}.{told.condition.lower()}",
        "subject": f"{namespace}/{name}",
        "time": told.time,
        "datacontenttype": "application/json",
        "data": {key: value for key, value in data.items() if value not in (None, "")},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def page_of(page_url: str, namespace: str, name: str) -> str:
    """Where people see a job."""
    return f"{page_url.rstrip('/')}/#/jobs/{namespace}/{name}"


def headers(id_: str, body: bytes, keys: Sequence[bytes], now: float) -> dict[str, str]:
    """Headers that go with a body: by them a receiver knows who sent it, when, and whether it had it before.

    Args:
        id_: Of the event.
        body: As it is sent.
        keys: To sign with, any number: while a secret is changed, receivers know one or the other.
        now: Of this attempt, seconds since the epoch.

    Raises:
        ForeignId: Somebody else wrote it into status, and it would break what is signed.
    """
    if not _ID.fullmatch(id_):
        raise ForeignId("the id in status is not one of ours")
    stamp = str(int(now))
    made = {"Content-Type": CONTENT_TYPE, "webhook-id": id_, "webhook-timestamp": stamp}
    if keys:
        made["webhook-signature"] = " ".join(f"v1,{_signature(key, id_, stamp, body)}" for key in keys)
    return made


def signing_keys(name: str, key: str, data: Mapping[str, bytes]) -> list[bytes]:
    """The keys that a Secret holds: whsec_ and base64, several with blanks between.

    Args:
        name: Of the Secret.
        key: In it.
        data: Of it.

    Raises:
        SecretUnusable: There is none, or what is there is none.
    """
    words = data.get(key, b"").decode("utf-8", "replace").split()
    if not words:
        raise SecretUnusable(f'Secret "{name}" has no {key}: add it, or name its key')
    keys = []
    for word in words:
        try:
            made = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            made = b""
        if not _SHORTEST <= len(made) <= _LONGEST:
            raise SecretUnusable(
                f'{key} in Secret "{name}" is no signing secret: it must be {_PREFIX} and {_SHORTEST} to {_LONGEST}'
                f" bytes in base64, such as {_PREFIX}$(openssl rand -base64 32)"
            )
        keys.append(made)
    return keys


def _signature(key: bytes, id_: str, stamp: str, body: bytes) -> str:
    signed = f"{id_}.{stamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
