"""Protobuf bodies, of the kinds that kubectl sends in no other form (`create`, `auth`, `drain`, from 1.32 on).

A body is `k8s`, a zero byte, and an envelope with the kind and its message (k8s.io/apimachinery, runtime.Unknown).
Messages are read by their field numbers, which Kubernetes never changes. What is empty is absent, as in JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

_MAGIC: Final = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Field:
    """How to read a field: `kind` is text, bytes, number, flag, time, amount (IntOrString) or the name of a message."""

    name: str
    kind: str = "text"
    many: Literal["one", "list", "map"] = "one"


def _texts(*names: str) -> dict[int, _Field]:
    """Fields of text, numbered as they come; an empty name leaves its number out."""
    return {number: _Field(name) for number, name in enumerate(names, 1) if name}


_METADATA: Final = {1: _Field("metadata", "ObjectMeta")}
_MESSAGES: Final[Mapping[str, Mapping[int, _Field]]] = {
    "ObjectMeta": {
        **_texts("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"),
        7: _Field("generation", "number"),
        8: _Field("creationTimestamp", "time"),
        9: _Field("deletionTimestamp", "time"),
        10: _Field("deletionGracePeriodSeconds", "number"),
        11: _Field("labels", many="map"),
        12: _Field("annotations", many="map"),
        13: _Field("ownerReferences", "OwnerReference", "list"),
        14: _Field("finalizers", many="list"),
    },
    "OwnerReference": {
        **_texts("kind", "", "name", "uid", "apiVersion"),
        6: _Field("controller", "flag"),
        7: _Field("blockOwnerDeletion", "flag"),
    },
    "ObjectReference": _texts("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"),
    "LocalObjectReference": _texts("name"),
    "ConfigMap": {
        **_METADATA,
        2: _Field("data", many="map"),
        3: _Field("binaryData", "bytes", "map"),
        4: _Field("immutable", "flag"),
    },
    "Secret": {
        **_METADATA,
        2: _Field("data", "bytes", "map"),
        3: _Field("type"),
        4: _Field("stringData", many="map"),
        5: _Field("immutable", "flag"),
    },
    "Namespace": {**_METADATA, 2: _Field("spec", "NamespaceSpec")},
    "NamespaceSpec": {1: _Field("finalizers", many="list")},
    "ServiceAccount": {
        **_METADATA,
        2: _Field("secrets", "ObjectReference", "list"),
        3: _Field("imagePullSecrets", "LocalObjectReference", "list"),
        4: _Field("automountServiceAccountToken", "flag"),
    },
    "PodDisruptionBudget": {**_METADATA, 2: _Field("spec", "PodDisruptionBudgetSpec")},
    "PodDisruptionBudgetSpec": {
        1: _Field("minAvailable", "amount"),
        2: _Field("selector", "LabelSelector"),
        3: _Field("maxUnavailable", "amount"),
        4: _Field("unhealthyPodEvictionPolicy"),
    },
    "LabelSelector": {
        1: _Field("matchLabels", many="map"),
        2: _Field("matchExpressions", "LabelSelectorRequirement", "list"),
    },
    "LabelSelectorRequirement": {**_texts("key", "operator"), 3: _Field("values", many="list")},
    "Eviction": {**_METADATA, 2: _Field("deleteOptions", "DeleteOptions")},
    "DeleteOptions": {
        1: _Field("gracePeriodSeconds", "number"),
        2: _Field("preconditions", "Preconditions"),
        3: _Field("orphanDependents", "flag"),
        4: _Field("propagationPolicy"),
        5: _Field("dryRun", many="list"),
    },
    "Preconditions": _texts("uid", "resourceVersion"),
    "SelfSubjectAccessReview": {
        **_METADATA,
        2: _Field("spec", "SelfSubjectAccessReviewSpec"),
    },
    "SelfSubjectAccessReviewSpec": {
        1: _Field("resourceAttributes", "ResourceAttributes"),
        2: _Field("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": _texts("namespace", "verb", "group", "version", "resource", "subresource", "name"),
    "NonResourceAttributes": _texts("path", "verb"),
    "SelfSubjectRulesReview": {**_METADATA, 2: _Field("spec", "SelfSubjectRulesReviewSpec")},
    "SelfSubjectRulesReviewSpec": _texts("namespace"),
    "SelfSubjectReview": _METADATA,
}
KINDS: Final = (
    *("ConfigMap", "DeleteOptions", "Eviction", "Namespace", "PodDisruptionBudget", "Secret"),
    *("SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview", "ServiceAccount"),
)


class UnknownKind(Exception):
    """A kind whose protobuf form this server does not read."""


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        ValueError: It is no such body.
        UnknownKind: It holds something else than `KINDS`.
    """
    if not body.startswith(_MAGIC):
        raise ValueError("the provided data does not appear to be a protobuf message, expected prefix 'k8s\\0'")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    identity = {number: _bytes(value).decode() for number, value in _fields(_bytes(envelope.get(1, b"")))}
    kind = identity.get(2, "")
    if kind not in KINDS:
        raise UnknownKind(kind)
    return {"apiVersion": identity.get(1, ""), "kind": kind, **_message(kind, _bytes(envelope.get(2, b"")))}


def _message(name: str, data: bytes) -> dict[str, Any]:
    known = _MESSAGES[name]
    found: dict[str, Any] = {}
    for number, raw in _fields(data):
        field = known.get(number)
        if field is None:
            continue
        if field.many == "map":
            entry = dict(_fields(_bytes(raw)))
            key = _bytes(entry.get(1, b"")).decode()
            found.setdefault(field.name, {})[key] = _value(field.kind, entry.get(2, b""))
        elif field.many == "list":
            found.setdefault(field.name, []).append(_value(field.kind, raw))
        elif (value := _value(field.kind, raw)) not in ("", None) and (field.name, value) != ("generation", 0):
            found[field.name] = value
    return found


def _value(kind: str, raw: int | bytes) -> Any:
    if kind == "number":
        return _signed(_number(raw))
    if kind == "flag":
        return bool(_number(raw))
    data = _bytes(raw)
    if kind == "text":
        return data.decode()
    if kind == "bytes":
        return base64.b64encode(data).decode()
    if kind == "amount":
        parts = dict(_fields(data))
        return _bytes(parts.get(3, b"")).decode() if parts.get(1) == 1 else _signed(_number(parts.get(2, 0)))
    if kind == "time":
        parts = dict(_fields(data))
        seconds = timedelta(seconds=_signed(_number(parts.get(1, 0))))
        return (datetime.fromtimestamp(0, UTC) + seconds).strftime("%Y-%m-%dT%H:%M:%SZ") if parts else None
    return _message(kind, data)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and raw values: numbers, or bytes for everything that has a length."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf: wire type {wire} of field {number} is not in use")
        if at + length > len(data):
            raise ValueError(f"protobuf: field {number} ends after the message")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("protobuf: the message ends within a number")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("protobuf: a number is longer than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("protobuf: a number stands where a text or message should")
    return value


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("protobuf: a text stands where a number should")
    return value
