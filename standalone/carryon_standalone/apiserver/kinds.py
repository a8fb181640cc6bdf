"""The schemas of the built-in kinds: Kubernetes' own definitions, from `kinds.json`.

The file is made by `carryon_standalone.kinds_file`.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from carryon_standalone.apiserver.schema import QUANTITY

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PREFIX: Final = "#/components/schemas/"
_KEPT: Final = ("type", "format")
_ANYTHING: Final[Mapping[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
_SCALARS: Final[Mapping[str, Mapping[str, Any]]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"x-kubernetes-int-or-string": True, "format": QUANTITY},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
}

DEFINITIONS: Final[Mapping[str, Mapping[str, Any]]] = orjson.loads(
    importlib.resources.files(__package__).joinpath("kinds.json").read_bytes()
)
_NAMES: Final = {
    (gvk["group"], gvk["version"], gvk["kind"]): name
    for name, definition in DEFINITIONS.items()
    for gvk in definition.get("x-kubernetes-group-version-kind", ())
}


def name_of(group: str, version: str, kind: str) -> str:
    """The name of a kind's definition.

    Raises:
        KeyError: It is not there: add it to `kinds_file`.
    """
    return _NAMES[group, version, kind]


def shape(name: str) -> Mapping[str, Any]:
    """A definition with everything it refers to in place, as a structural schema: types, and how lists merge.

    A typed server knows no more when it decodes; what is required or allowed is for validation to say.
    """
    return _inlined(DEFINITIONS[name], (name,))


def _inlined(schema: Mapping[str, Any], within: tuple[str, ...]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None and len(schema.get("allOf") or ()) == 1:
        reference = schema["allOf"][0]["$ref"]
    merging = {key: value for key, value in schema.items() if key.startswith("x-kubernetes-") and key[13:16] != "gro"}
    if reference is not None:
        name = reference.removeprefix(_PREFIX)
        if name in _SCALARS:
            return _SCALARS[name]
        inner = _ANYTHING if name in within else _inlined(DEFINITIONS[name], (*within, name))
        return {**inner, **merging}
    made = {**{key: schema[key] for key in _KEPT if key in schema}, **merging}
    properties, items, further = (schema.get(key) for key in ("properties", "items", "additionalProperties"))
    if properties:
        made["properties"] = {name: _inlined(inner, within) for name, inner in properties.items()}
    if items:
        made["items"] = _inlined(items, within)
    if further:
        made["additionalProperties"] = _inlined(further, within)
    if made.get("type", "object") == "object" and not properties and not further:
        made |= _ANYTHING
    return made


def closure(names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Definitions and all that they refer to, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = DEFINITIONS[name]
            wanted += _references(DEFINITIONS[name])
    return dict(sorted(found.items()))


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_PREFIX)
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)
