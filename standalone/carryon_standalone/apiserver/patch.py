"""JSON merge patch (RFC 7386), JSON patch (RFC 6902) and Kubernetes' strategic merge patch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

import jsonpatch
import jsonpointer

from carryon_standalone.apiserver.errors import bad_request, rejected

_DIRECTIVE: Final = "$patch"
_LONGEST: Final = 10_000


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: nulls remove, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def json_patch(target: dict[str, Any], operations: Any) -> dict[str, Any]:
    """RFC 6902, all or nothing.

    Raises:
        ApiError: 400 where it is no JSON patch, 422 where it does not fit the object, a failed `test` included.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > _LONGEST:
        raise bad_request(f"The allowed maximum operations in a JSON patch is {_LONGEST}, got {len(operations)}")
    try:
        patched = jsonpatch.JsonPatch(operations).apply(target)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError) as error:
        raise rejected() from error
    if not isinstance(patched, dict):
        raise rejected()
    return patched


def strategic(target: Any, patch: Any, shape: Mapping[str, Any]) -> Any:
    """Strategic merge: as `merge`, but lists that `shape` gives a patch strategy merge item by item.

    Understands the directives `$patch: delete | replace | merge`, `$retainKeys`, `$deleteFromPrimitiveList/...` and
    `$setElementOrder/...`. The latter only says how kubectl saw the order; ours is: old items first, new ones appended.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get(_DIRECTIVE)
    if directive == "delete":
        return {}
    base: dict[str, Any] = {} if directive == "replace" or not isinstance(target, dict) else dict(target)
    if "$retainKeys" in patch:
        base = {key: value for key, value in base.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            base[name] = [each for each in base.get(name) or [] if each not in value]
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        inner = child(shape, key)
        if value is None:
            base.pop(key, None)
        elif isinstance(value, list):
            base[key] = _merged_list(base.get(key), value, inner)
        else:
            base[key] = strategic(base.get(key), value, inner)
    return base


def child(shape: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The shape below a property."""
    found = (shape.get("properties") or {}).get(key) or shape.get("additionalProperties") or {}
    return found if isinstance(found, Mapping) else {}


def _merged_list(target: Any, patch: list[Any], shape: Mapping[str, Any]) -> list[Any]:
    old = list(target) if isinstance(target, list) else []
    merge_key, items = shape.get("x-kubernetes-patch-merge-key"), shape.get("items") or {}
    if "merge" not in (shape.get("x-kubernetes-patch-strategy") or "").split(","):
        return copy.deepcopy(patch)
    if merge_key is None:
        return [*old, *(each for each in patch if each not in old)]
    if any(isinstance(each, dict) and each.get(_DIRECTIVE) == "replace" for each in patch):
        return [each for each in patch if not (isinstance(each, dict) and each.get(_DIRECTIVE) == "replace")]
    for change in patch:
        if not isinstance(change, dict) or merge_key not in change:
            raise bad_request(f"map: {change} does not contain declared merge key: {merge_key}")
        found = next((at for at, each in enumerate(old) if each.get(merge_key) == change[merge_key]), None)
        if change.get(_DIRECTIVE) == "delete":
            old = [each for each in old if each.get(merge_key) != change[merge_key]]
        elif found is None:
            old.append(strategic({}, change, items))
        else:
            old[found] = strategic(old[found], change, items)
    return old
