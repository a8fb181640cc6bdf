"""`ObjectMeta`: names, what the system fills in, and what is refused."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from carryon_standalone.apiserver.errors import (
    FieldError,
    bad_request,
    forbidden_value,
    invalid_value,
    required_value,
)
from carryon_standalone.apiserver.schema import Structural
from carryon_standalone.apiserver.storage import Object

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

_KNOWN: Final = frozenset(
    [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ]
)
_SET_BY_SERVER: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    r" '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    " an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_WORDS: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LABEL_KEY_WORDS: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_ANNOTATIONS_LARGEST: Final = 256 * 1024
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_REFERENCE: Final = {
    **dict.fromkeys(("apiVersion", "kind", "name", "uid"), _TEXT),
    "blockOwnerDeletion": {"type": "boolean"},
}
_ENTRY: Final = dict.fromkeys(("manager", "operation", "apiVersion", "subresource", "time"), _TEXT)


def _list_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_TYPES: Final = Structural.of(
    {
        "type": "object",
        "properties": {
            **dict.fromkeys(
                ("name", "generateName", "namespace", "resourceVersion", "uid", "deletionTimestamp"), _TEXT
            ),
            **dict.fromkeys(("labels", "annotations"), _TEXTS),
            "finalizers": _list_of(_TEXT),
            "ownerReferences": _list_of({"type": "object", "properties": _REFERENCE}),
            "managedFields": _list_of({"type": "object", "properties": _ENTRY}),
        },
    }
)
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_LONGEST: Final = 58


def now(ahead: float = 0) -> str:
    """The time, `ahead` seconds from now, as metadata has it."""
    return (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def generate_name(base: str) -> str:
    """A name from `generateName`."""
    return base[:_GENERATED_LONGEST] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def check_types(metadata: Any) -> None:
    """Refuse metadata that would not decode.

    Raises:
        ApiError: 400.
    """
    if not isinstance(metadata, dict):
        raise bad_request("metadata in body must be an object")
    for name in [name for name, value in metadata.items() if value is None]:
        del metadata[name]
    misfits = [f"metadata.{error}" for error in _TYPES.validate(metadata) if error.reason == "FieldValueTypeInvalid"]
    if misfits:
        raise bad_request(f"metadata cannot be decoded: {'; '.join(misfits)}")
    if not all(_is_field_set(each.get("fieldsV1", {})) for each in metadata.get("managedFields", ())):
        raise bad_request("metadata.managedFields cannot be decoded: fieldsV1 must hold objects of objects")


def _is_field_set(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_field_set, value.values()))


def prune(metadata: Object) -> list[str]:
    """Remove unknown and empty fields; the paths of the unknown ones."""
    unknown = [f"metadata.{name}" for name in sorted(metadata) if name not in _KNOWN]
    for name in [name for name, value in metadata.items() if name not in _KNOWN or value in (None, "", [], {})]:
        del metadata[name]
    return unknown


def fill(metadata: Object, counts_generation: bool) -> None:
    """What the server gives a new object."""
    for name in ("resourceVersion", "selfLink", *_SET_BY_SERVER):
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if counts_generation:
        metadata["generation"] = 1


def keep(metadata: Object, old: Mapping[str, Any]) -> None:
    """Put back what an update can't change."""
    metadata.pop("selfLink", None)
    for name in ("name", "namespace", "generateName", "resourceVersion", *_SET_BY_SERVER):
        if name in old:
            metadata[name] = old[name]
        else:
            metadata.pop(name, None)


def check_name(name: str, as_label: bool) -> list[FieldError]:
    """What is wrong with an object's name."""
    pattern, words, longest = (_LABEL, _LABEL_WORDS, 63) if as_label else (_SUBDOMAIN, _SUBDOMAIN_WORDS, 253)
    errors = []
    if not name:
        return [required_value("metadata.name", "name or generateName is required")]
    if len(name) > longest:
        errors.append(invalid_value("metadata.name", name, f"must be no more than {longest} characters"))
    if not pattern.fullmatch(name):
        errors.append(invalid_value("metadata.name", name, words))
    return errors


def check(metadata: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """What is wrong with metadata, given the old metadata of an update."""
    errors: list[FieldError] = []
    for key, value in (metadata.get("labels") or {}).items():
        errors += _check_key("metadata.labels", key)
        if len(value) > 63:
            errors.append(invalid_value("metadata.labels", value, "must be no more than 63 characters"))
        elif not _LABEL_VALUE.fullmatch(value):
            errors.append(invalid_value("metadata.labels", value, _LABEL_VALUE_WORDS))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        errors += _check_key("metadata.annotations", key.lower())
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_LARGEST:
        message = f"Too long: may not be more than {_ANNOTATIONS_LARGEST} bytes"
        errors.append(FieldError("FieldValueTooLong", "metadata.annotations", message))
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                errors.append(invalid_value(f"metadata.ownerReferences[{index}].{name}", "", "must not be empty"))
    for finalizer in metadata.get("finalizers") or ():
        errors += _check_key("metadata.finalizers", finalizer)
    if old is not None and "deletionTimestamp" in old:
        errors += _check_added(metadata, old)
    return errors


def _check_key(field: str, key: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253):
        return [invalid_value(field, key, f"prefix part {_SUBDOMAIN_WORDS}")]
    if len(name) > 63:
        return [invalid_value(field, key, "name part must be no more than 63 characters")]
    if not _LABEL_NAME.fullmatch(name):
        return [invalid_value(field, key, _LABEL_KEY_WORDS)]
    return []


def _check_added(metadata: Mapping[str, Any], old: Mapping[str, Any]) -> list[FieldError]:
    added = sorted(set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ()))
    if not added:
        return []
    listed = ", ".join(f'"{each}"' for each in added)
    message = (
        f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    )
    # Twice, as the real server says it: the metadata of an update is validated by two layers.
    return [forbidden_value("metadata.finalizers", message)] * 2
