"""Who owns which field: managedFields at every write, and server-side apply.

Source: "Server-Side Apply" in the Kubernetes documentation, and the merge rules of structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import orjson

from carryon_standalone.apiserver import fields
from carryon_standalone.apiserver.errors import ApiError
from carryon_standalone.apiserver.fields import MEMBER, Fields
from carryon_standalone.apiserver.patch import child

_SYSTEM: Final = frozenset(
    ("name", "namespace", "uid", "creationTimestamp", "selfLink", "generation", "managedFields", "resourceVersion")
)
_KUBECTL: Final = "kubectl"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_ESCAPED: Final = {each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}
_METADATA: Final[Mapping[str, Any]] = {
    "properties": {
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
    }
}


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the manager's name, through which subresource, in which version, and when (RFC 3339)."""

    manager: str
    subresource: str
    api_version: str
    time: str


@dataclass(frozen=True, slots=True)
class _Entry:
    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: Fields

    def is_of(self, author: Author, operation: str) -> bool:
        mine = (author.manager, operation, author.api_version, author.subresource)
        return (self.manager, self.operation, self.api_version, self.subresource) == mine

    def described(self) -> str:
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version} at {self.time}"


def shape_of(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """A kind's shape together with that of the metadata all kinds share."""
    return {**shape, "properties": {**(shape.get("properties") or {}), "metadata": _METADATA}}


def record(old: dict[str, Any] | None, new: dict[str, Any], shape: Mapping[str, Any], author: Author) -> None:
    """Note in `new` that `author` wrote what differs from `old`, and that nobody owns it beside them.

    Managed fields that the request itself set stay as they are; an empty list resets them.
    """
    given = new["metadata"].get("managedFields")
    before = (old or {}).get("metadata", {}).get("managedFields")
    entries = _read(given if given is not None else before)
    if given is not None and not any(entry for entry in given):
        entries = []
    written = _written(old, new, shape)
    mine = next((entry for entry in entries if entry.is_of(author, "Update")), None)
    others = [entry for entry in entries if entry is not mine]
    content, was = _content(new), _content(old or {})
    if written:
        others = [replace(entry, fields=fields.difference(entry.fields, written)) for entry in others]
        base = mine.fields if mine is not None else {}
        owned = fields.top_union(base, written)
        entry = _Entry(author.manager, "Update", author.api_version, author.subresource, author.time, owned)
        others.append(entry)
    elif mine is not None:
        others.append(mine)
    # Whoever owned a part that did not change owns it still: no need to look at every field of it again.
    trusted = given is None or given == before
    same = {f"f:{name}" for name, inner in content.items() if trusted and inner == was.get(name)}
    _write(new, [replace(entry, fields=_still_there(entry.fields, content, shape, same)) for entry in others])


def _still_there(owned: Fields, content: dict[str, Any], shape: Mapping[str, Any], same: set[str]) -> Fields:
    kept = {element: below for element, below in owned.items() if element in same}
    return kept | fields.present({each: owned[each] for each in owned.keys() - same}, content, shape)


def apply(
    live: dict[str, Any] | None, wanted: dict[str, Any], shape: Mapping[str, Any], author: Author, force: bool
) -> dict[str, Any]:
    """The object after `author` applied `wanted`.

    Raises:
        ApiError: 409 where others own fields that would change and `force` is not given.
    """
    config = _content(wanted)
    config_fields = fields.field_set(config, shape, nodes=False)
    if live is None:
        created = {**wanted, "metadata": dict(wanted.get("metadata") or {})}
        _write(created, [_applied(author, config_fields)])
        return created
    entries = _read(live["metadata"].get("managedFields"))
    mine = next((entry for entry in entries if entry.is_of(author, "Apply")), None)
    others = [entry for entry in entries if entry is not mine]
    merged: dict[str, Any] = _merge(live, config, shape)
    difference = _written(live, merged, shape)
    conflicts = [(entry, fields.intersection(entry.fields, difference)) for entry in others]
    if not force:
        mine_already = _applied_before(live, shape) if author.manager == _KUBECTL else {}
        refused = [(entry, fields.difference(clash, mine_already)) for entry, clash in conflicts]
        _refuse([(entry, path) for entry, clash in refused for path in fields.paths(clash)])
    others = [
        replace(entry, fields=fields.difference(entry.fields, clash)) if clash else entry for entry, clash in conflicts
    ]
    if mine is not None:
        dropped = fields.difference(mine.fields, config_fields)
        for entry in others:
            dropped = fields.difference(dropped, entry.fields)
        owned = config_fields
        for entry in others:
            owned = fields.top_union(owned, entry.fields)
        _remove(merged, dropped, owned, shape)
    if author.manager == _KUBECTL and _LAST_APPLIED in (annotations := _annotations(merged)):
        merged["metadata"] = {
            **merged["metadata"],
            "annotations": {**annotations, _LAST_APPLIED: _last_applied(wanted)},
        }
    applied = _applied(author, config_fields)
    if mine is not None and mine.fields == config_fields and _content(merged) == _content(live):
        applied = mine
    content = _content(merged)
    kept = [replace(entry, fields=fields.present(entry.fields, content, shape)) for entry in others]
    _write(merged, [*kept, applied])
    return merged


def _annotations(value: Mapping[str, Any]) -> dict[str, Any]:
    return (value.get("metadata") or {}).get("annotations") or {}


def _applied_before(live: Mapping[str, Any], shape: Mapping[str, Any]) -> Fields:
    """Fields that `kubectl apply` has set by the client: `kubectl apply --server-side` takes them over unasked."""
    try:
        applied = orjson.loads(_annotations(live).get(_LAST_APPLIED, "null"))
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(applied, dict) or not isinstance(applied.get("metadata") or {}, dict):
        return {}
    annotation: Fields = {"f:metadata": {"f:annotations": {f"f:{_LAST_APPLIED}": {}}}}
    return fields.top_union(fields.field_set(_content(applied), shape, nodes=False), annotation)


def _last_applied(wanted: Mapping[str, Any]) -> str:
    """The annotation of `kubectl apply` for what was applied by the server instead, as Go's JSON has it."""
    metadata = {key: inner for key, inner in wanted["metadata"].items() if key != "annotations"}
    if annotations := {key: inner for key, inner in _annotations(wanted).items() if key != _LAST_APPLIED}:
        metadata["annotations"] = annotations
    text = orjson.dumps({**wanted, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode()
    return "".join(_ESCAPED.get(character, character) for character in text) + "\n"


def _applied(author: Author, owned: Fields) -> _Entry:
    return _Entry(author.manager, "Apply", author.api_version, author.subresource, author.time, owned)


def _refuse(conflicts: list[tuple[_Entry, fields.Path]]) -> None:
    if not conflicts:
        return
    named = [(entry.described(), fields.shown(path)) for entry, path in conflicts]
    if len(named) == 1:
        message = f"Apply failed with 1 conflict: conflict with {named[0][0]}: {named[0][1]}"
    else:
        by_manager: dict[str, list[str]] = {}
        for manager, path in named:
            by_manager.setdefault(manager, []).append(f"- {path}")
        listed = "\n".join(f"conflicts with {who}:\n" + "\n".join(what) for who, what in sorted(by_manager.items()))
        message = f"Apply failed with {len(named)} conflicts: {listed}"
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for who, path in named
    ]
    raise ApiError(HTTPStatus.CONFLICT, "Conflict", message, {"causes": causes})


def _content(value: Mapping[str, Any]) -> dict[str, Any]:
    """What can be owned: all but identity and system metadata."""
    content = {key: inner for key, inner in value.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: inner for key, inner in (value.get("metadata") or {}).items() if key not in _SYSTEM}
    return {**content, "metadata": metadata} if metadata else content


def _written(old: Mapping[str, Any] | None, new: Mapping[str, Any], shape: Mapping[str, Any]) -> Fields:
    before = _content(old or {})
    content = _content(new)
    for each in (before, content):
        each.setdefault("metadata", {})
    found: Fields = {}
    for name, inner in content.items():
        inner_shape = child(shape, name)
        element = f"f:{name}"
        if name == "metadata":
            if below := fields.changed(before["metadata"], inner, inner_shape):
                found[element] = below
        elif name not in before:
            found[element] = fields.field_set(inner, inner_shape, nodes=True)
        elif inner != before[name]:
            found |= fields.changed({name: before[name]}, {name: inner}, shape)
    return found


def _merge(live: Any, config: Any, shape: Mapping[str, Any]) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and shape.get("x-kubernetes-map-type") != "atomic":
        merged = dict(live)
        for key, inner in config.items():
            merged[key] = _merge(live.get(key), inner, child(shape, key)) if key in live else inner
        return merged
    if not isinstance(config, list) or not isinstance(live, list):
        return config
    if shape.get("x-kubernetes-list-type") not in ("map", "set"):
        return config
    items = shape.get("items") or {}
    old = {fields.element_of(each, shape): each for each in live}
    new = {fields.element_of(each, shape): each for each in config}
    merged_items = {
        element: _merge(old[element], item, items) if element in old else item for element, item in new.items()
    }
    # As structured-merge-diff does for one applier: theirs in their order, before those that only the others know.
    return [*merged_items.values(), *(item for element, item in old.items() if element not in new)]


def _remove(value: Any, dropped: Fields, owned: Fields, shape: Mapping[str, Any]) -> None:
    """Remove dropped paths, and the containers that became empty and that nobody owns."""
    if isinstance(value, dict):
        for element in [each for each in dropped if each.startswith("f:")]:
            name = element[2:]
            if name not in value:
                continue
            below, keepers = dropped[element], owned.get(element, {})
            if below and isinstance(value[name], dict | list):
                value[name] = value[name].copy()
                _remove(value[name], below, keepers, child(shape, name))
                if not value[name] and element not in owned:
                    del value[name]
            elif element not in owned:
                del value[name]
    elif isinstance(value, list):
        items = shape.get("items") or {}
        kept = []
        for item in value:
            element = fields.element_of(item, shape)
            if element not in dropped or element in owned:
                if element in dropped and isinstance(item, dict):
                    item = dict(item)
                    _remove(item, dropped[element], owned.get(element, {}), items)
                kept.append(item)
        value[:] = kept


def _read(managed: Iterable[Mapping[str, Any]] | None) -> list[_Entry]:
    return [
        _Entry(
            each.get("manager", ""),
            each.get("operation", ""),
            each.get("apiVersion", ""),
            each.get("subresource", ""),
            each.get("time", ""),
            each.get("fieldsV1") or {},
        )
        for each in managed or ()
    ]


def _write(value: dict[str, Any], entries: Iterable[_Entry]) -> None:
    ordered = sorted(
        (entry for entry in entries if entry.fields and set(entry.fields) != {MEMBER}),
        key=lambda each: (each.operation, each.time, each.manager, each.api_version, each.subresource),
    )
    managed = [
        {
            "apiVersion": entry.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": entry.fields,
            "manager": entry.manager,
            "operation": entry.operation,
            **({"subresource": entry.subresource} if entry.subresource else {}),
            "time": entry.time,
        }
        for entry in ordered
    ]
    if managed:
        value["metadata"]["managedFields"] = managed
    else:
        value["metadata"].pop("managedFields", None)
