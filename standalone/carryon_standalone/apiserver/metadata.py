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
        raise bad_request("json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
    for name in ("labels", "annotations"):
        for value in _entries(metadata, name).values():
            if not isinstance(value, str):
                raise _undecodable(name, value, "string")
    for name in ("name", "generateName", "namespace", "resourceVersion", "uid"):
        if not isinstance(metadata.get(name, ""), str | None):
            raise _undecodable(name, metadata[name], "string")
    for name, kind in (("finalizers", str), ("ownerReferences", dict)):
        values = metadata.get(name)
        if values is not None and not (isinstance(values, list) and all(isinstance(each, kind) for each in values)):
            raise _undecodable(name, values, "list")


def _entries(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = metadata.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _undecodable(name, value, "map[string]string")
    return value


def _undecodable(name: str, value: Any, wanted: str) -> Exception:
    kind = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    found = kind.get(type(value), "null")
    return bad_request(
        f"json: cannot unmarshal {found} into Go struct field ObjectMeta.metadata.{name} of type {wanted}"
    )


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
