"""What tells CRDs of two releases apart: fields that one lacks, and changes that would break a promise.

`python -m carryon_core.schema_changes` prints the schema of this release, as `tests/released` keeps those of releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from carryon_core import crd
from carryon_core.schema import Schema


def schema() -> Schema:
    """That of the resource, as an API server gets it."""
    made: Schema = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return made


def lacking(wanted: Schema, served: Schema, path: str = "") -> Iterator[str]:
    """Paths of fields that an API server would take away, because its CRD does not know them; not what is below.

    Args:
        wanted: The schema of our types.
        served: The schema that the API server has.
        path: Of both.
    """
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = served.get("properties", {})
    for name, schema in wanted.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        if name not in known:
            yield below
        else:
            yield from lacking(schema, known[name], below)
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(wanted.get(key), Mapping) and isinstance(served.get(key), Mapping):
            yield from lacking(wanted[key], served[key], path + mark)


_LEAST: Final = ("minLength", "minimum", "minItems", "minProperties")
_MOST: Final = ("maxLength", "maximum", "maxItems", "maxProperties")
_SHAPE: Final = (
    "type",
    "format",
    "pattern",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
)


def breaks(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """What a CRD does to jobs and operators of an earlier one, as sentences: none where the policy is kept.

    A job that was accepted stays so and keeps its meaning; an operator of before meets no field that nobody wrote,
    because it refuses jobs with fields that it does not know: so what is new has no default in the schema.

    Args:
        old: The earlier schema.
        new: The later one.
        path: Of both.
    """
    here = path or "the object"
    for key in _SHAPE:
        if old.get(key) != new.get(key):
            yield f"{here}: {key} was {old.get(key)}, and is {new.get(key)}"
    for key, tighter in (*((key, max) for key in _LEAST), *((key, min) for key in _MOST)):
        was, now = old.get(key), new.get(key)
        if now is not None and (was is None or (now != was and tighter(was, now) == now)):
            yield f"{here}: {key} was {was}, and is {now}"
    if "enum" in new and (gone := [value for value in old.get("enum", ["any value"]) if value not in new["enum"]]):
        yield f"{here}: {', '.join(map(str, gone))} may stand there no more"
    if old.get("nullable") and not new.get("nullable"):
        yield f"{here}: null may stand there no more"
    if old.get("default") != new.get("default"):
        yield f"{here}: the default was {old.get('default')}, and is {new.get('default')}"
    for name in new.get("required", ()):
        if name not in old.get("required", ()):
            yield f"{here}: {name} is required, and was not"
    before = [rule["rule"] for rule in old.get("x-kubernetes-validations", ())]
    for rule in new.get("x-kubernetes-validations", ()):
        if rule["rule"] not in before:
            yield f"{here}: a rule that jobs of before may not keep: {rule['message']}"
    yield from _fields(old, new, path)


def _fields(old: Schema, new: Schema, path: str) -> Iterator[str]:
    known = new.get("properties", {})
    for name, schema in old.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        if name in known:
            yield from breaks(schema, known[name], below)
        else:
            yield f"{below}: it is gone"
    for name in known.keys() - old.get("properties", {}).keys():
        if "default" in known[name]:
            yield f"{path}.{name}: it is new and has a default, so operators of before would refuse every job"
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(old.get(key), Mapping) and isinstance(new.get(key), Mapping):
            yield from breaks(old[key], new[key], path + mark)


def bare(schema: Any) -> Any:
    """A schema without descriptions, as `tests/released` keeps those of releases."""
    if isinstance(schema, Mapping):
        kept = {name: bare(inner) for name, inner in schema.items()}
        # A field may have this name too; it is no text.
        return {name: inner for name, inner in kept.items() if name != "description" or not isinstance(inner, str)}
    return [bare(inner) for inner in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    print(json.dumps(bare(schema()), separators=(",", ":"), ensure_ascii=False))
