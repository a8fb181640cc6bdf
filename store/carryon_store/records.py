"""A job's own documents: items and large assignments, named by their digests, logs of pods, what journals say."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from carryon_core import layout
from carryon_core.attempts import AttemptRecord
from carryon_core.compatibility import Incompatible, check_assignment
from carryon_core.messages import Assignment, AssignmentPointer
from carryon_store.errors import Conflict, NotFound, StoreError, TooLarge
from carryon_store.protocol import JSON_TYPE, Store

_FIELDS_LARGEST: Final = 2**20
"""Bytes that the fields of a worker fingerprint may have."""


def put_items(store: Store, namespace: str, job: str, items: str) -> str:
    """Keep a job's resolved items, one JSON object a line.

    Returns:
        Their digest, 64 hex digits: the job's status names it.
    """
    content = items.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(content).hexdigest()
    _put(store, layout.items_key(namespace, job, digest), content, "application/jsonl")
    return digest


def get_items(store: Store, namespace: str, job: str, digest: str) -> str:
    """Read resolved items back.

    Raises:
        NotFound: There are none with this digest.
        StoreError: They are not what was written.
    """
    return _get(store, layout.items_key(namespace, job, digest), digest).decode("utf-8", "surrogatepass")


def put_assignment(store: Store, assignment: Assignment) -> AssignmentPointer:
    """Put an assignment into the bucket that is too large for the environment."""
    content = assignment.model_dump_json(by_alias=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    key = layout.assignment_key(assignment.namespace, assignment.job, digest)
    _put(store, key, content, JSON_TYPE)
    return AssignmentPointer(key=key, sha256=digest, store=assignment.store)


def get_assignment(store: Store, pointer: AssignmentPointer) -> Assignment:
    """Read the assignment that a pointer stands for.

    Raises:
        NotFound: It is gone.
        StoreError: It is not what was written.
        Incompatible: It is of a version that this release does not carry out.
    """
    content = _get(store, pointer.key, pointer.sha256)
    try:
        given = json.loads(content)
        check_assignment(given)
        return Assignment.model_validate(given)
    except Incompatible:
        raise
    except ValueError as error:
        raise StoreError(f"{store.uri}/{pointer.key} is no assignment this worker understands: {error}") from error


def put_log(store: Store, prefix: str, pod_uid: str, text: str) -> str:
    """Keep the last lines of an attempt's log.

    Args:
        store: The bucket.
        prefix: Of the unit that the attempt was at, see `layout.unit_prefix`.
        pod_uid: Of the pod that wrote them.
        text: The lines.

    Returns:
        The key they lie under.
    """
    key = layout.attempt_log_key(prefix, pod_uid)
    store.put(key, text.encode("utf-8", "replace"), content_type="text/plain; charset=utf-8")
    return key


def put_attempt(store: Store, prefix: str, attempt: AttemptRecord) -> None:
    """Keep what became of an attempt at a unit.

    Args:
        store: The bucket.
        prefix: Of the unit, see `layout.unit_prefix`.
        attempt: That failed.
    """
    content = attempt.model_dump_json(by_alias=True, exclude_none=True).encode()
    store.put(layout.attempt_key(prefix, attempt.pod_uid), content, content_type=JSON_TYPE)


def get_file_digests(store: Store, namespace: str, job: str) -> dict[str, str]:
    """Uri -> SHA-256 of the files that a job's parameters name, as the operator saw them last.

    Raises:
        StoreError: The bucket does not say.
    """
    try:
        kept = json.loads(store.get(layout.files_key(namespace, job)))
    except (NotFound, ValueError, RecursionError):
        return {}
    if not isinstance(kept, dict):
        return {}
    # (etag, digest) of each: what somebody damaged counts as not there.
    return {
        uri: content[1]
        for uri, content in kept.items()
        if isinstance(content, list) and len(content) == 2 and isinstance(content[1], str)
    }


def _put(store: Store, key: str, content: bytes, content_type: str) -> None:
    with suppress(Conflict):  # The name is a digest of the content: who was first wrote the same.
        store.put(key, content, content_type=content_type, only_if_absent=True)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a journal says of the worker that began it; "" where it does not.

    Attributes:
        image: As that worker's pod named it.
        device: As that worker called it.
    """

    image: str = ""
    device: str = ""


def get_origin(store: Store, key: str) -> Origin:
    """Read what a journal says of the worker that began it; of one that is damaged nothing is known.

    Args:
        store: The bucket.
        key: See `layout.journal_fields_key`.

    Raises:
        StoreError: The bucket does not say.
    """
    try:
        fields = json.loads(store.get(key, max_bytes=_FIELDS_LARGEST))
    except (NotFound, TooLarge, ValueError, RecursionError):
        return Origin()
    if not isinstance(fields, dict):
        return Origin()
    image, device = (fields.get(name) for name in (layout.JOURNAL_IMAGE, layout.JOURNAL_DEVICE))
    return Origin(image if isinstance(image, str) else "", device if isinstance(device, str) else "")


def _get(store: Store, key: str, digest: str) -> bytes:
    content = store.get(key)
    if hashlib.sha256(content).hexdigest() != digest:
        raise StoreError(
            f"{store.uri}/{key} was changed: its SHA-256 is not {digest}; delete it to have it written again"
        )
    return content
