"""Field sets in the `FieldsV1` form of managedFields, and the algebra on them that server-side apply needs.

A set is a trie of path elements: `f:name` a field, `k:{...}` a list item by its map keys, `v:...` an item of a set. A
path belongs to the set where its node is empty or holds `"."`. Lists that a shape gives no keys are one value.
Source: sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from carryon_standalone.apiserver.patch import child

Fields = dict[str, Any]
Path = tuple[str, ...]
MEMBER: Final = "."


def _is_atomic(value: Any, shape: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        return not value or shape.get("x-kubernetes-map-type") == "atomic"
    return not isinstance(value, list) or not value or shape.get("x-kubernetes-list-type") not in ("map", "set")


def elements(value: Any, shape: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Path elements one step below a value that is not atomic: element, inner value, inner shape."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"f:{key}", inner, child(shape, key)
        return
    items = shape.get("items") or {}
    for item in value:
        yield element_of(item, shape), item, items


def element_of(item: Any, shape: Mapping[str, Any]) -> str:
    """The path element of an item in a list of type map or set."""
    if shape.get("x-kubernetes-list-type") == "set":
        return f"v:{orjson.dumps(item).decode()}"
    keys = {key: item[key] for key in shape["x-kubernetes-list-map-keys"] if key in item}
    return f"k:{orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()}"


def field_set(value: Any, shape: Mapping[str, Any], nodes: bool) -> Fields:
    """The fields of a value; with `nodes`, also the objects and lists that hold them (as an update owns them)."""
    if _is_atomic(value, shape):
        return {}
    found: Fields = {MEMBER: {}} if nodes else {}
    for element, inner, inner_shape in elements(value, shape):
        below = field_set(inner, inner_shape, nodes)
        if element.startswith("k:") and below:
            below.setdefault(MEMBER, {})
        found[element] = below
    return found


def changed(old: Any, new: Any, shape: Mapping[str, Any]) -> Fields:
    """Fields of `new` that are not in `old` or differ, as an update owns them; empty where nothing changed."""
    if old == new:
        return {}
    found: Fields = {}
    before = {} if _is_atomic(old, shape) else {each: inner for each, inner, _ in elements(old, shape)}
    for element, inner, inner_shape in elements(new, shape):
        if element not in before:
            below = field_set(inner, inner_shape, nodes=True)
            found[element] = below
        elif inner != (was := before[element]):
            filled = was is None or (not was and type(was) is type(inner))
            if _is_atomic(inner, inner_shape) or (_is_atomic(was, inner_shape) and not filled):
                found[element] = field_set(inner, inner_shape, nodes=True)
            elif below := changed(was, inner, inner_shape):
                found[element] = below
    return found


def union(left: Fields, right: Fields) -> Fields:
    """Paths in either."""
    if not left or not right:
        # An empty node is a member by itself; beside a node with children that has to be said.
        return {**(left or right), **({MEMBER: {}} if left or right else {})}
    return {
        key: union(left[key], right[key]) if key in left and key in right else left.get(key, right.get(key, {}))
        for key in {**left, **right}
    }


def top_union(left: Fields, right: Fields) -> Fields:
    """As `union`, for whole sets, where empty means no path at all."""
    return union(left, right) if left and right else left or right


def difference(left: Fields, right: Fields) -> Fields:
    """Paths in `left` and not in `right`."""
    rest: Fields = {}
    for key, below in left.items():
        if key not in right:
            rest[key] = below
        elif key != MEMBER and below:
            other = right[key] or {MEMBER: {}}
            if remaining := difference(below, other):
                rest[key] = remaining
        elif key != MEMBER and right[key] and MEMBER not in right[key]:
            rest[key] = below
    return rest


def intersection(left: Fields, right: Fields) -> Fields:
    """Paths in both."""
    return difference(left, difference(left, right))


def present(fields: Fields, value: Any, shape: Mapping[str, Any]) -> Fields:
    """The paths of a set that a value still has."""
    rest: Fields = {}
    inner = {} if not isinstance(value, dict | list) else _children(value, shape)
    for key, below in fields.items():
        if key == MEMBER:
            rest[key] = below
        elif key in inner:
            if not below:
                rest[key] = below
            elif kept := present(below, *inner[key]):
                rest[key] = kept
    return rest


def _children(value: Any, shape: Mapping[str, Any]) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    if isinstance(value, list) and shape.get("x-kubernetes-list-type") not in ("map", "set"):
        return {}
    return {element: (inner, inner_shape) for element, inner, inner_shape in elements(value, shape)}


def paths(fields: Fields, prefix: Path = ()) -> Iterator[Path]:
    """All member paths."""
    for key, below in fields.items():
        if key == MEMBER:
            yield prefix
        elif below:
            yield from paths(below, (*prefix, key))
        else:
            yield (*prefix, key)


def shown(path: Path) -> str:
    """A path as conflicts name it: `.spec.stages[name="clip"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in orjson.loads(rest).items())
            text += f"[{keys}]"
        else:
            text += f"[={rest}]"
    return text
