"""Kinds of other projects that our pages show: held to what their API references say, as no registry has schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jsonschema.validators import Draft202012Validator

import chart_release

Schema = dict[str, Any]


def _object(required: str = "", **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_FREE: Final[Schema] = {"type": "object"}
_YES_OR_NO: Final[Schema] = {"type": "boolean"}
_QUANTITY: Final[Schema] = {"type": ["string", "integer"]}

_KINDS: Final[Mapping[tuple[str, str], Schema]] = {}
"""apiVersion and kind -> schema of what stands beside apiVersion, kind and metadata."""


def wrong(manifest: Mapping[str, Any], version: str) -> list[str]:
    """Where an object is not what its kind is, strictly: unknown fields too.

    Raises:
        KeyError: Neither that version of Kubernetes nor this module has such a kind.
    """
    made = _KINDS.get((manifest["apiVersion"], manifest["kind"]))
    if made is None:
        return chart_release.wrong(dict(manifest), version)
    metadata = _object("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)
    properties = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata, **made["properties"]}
    validator = Draft202012Validator({**made, "properties": properties, "required": ["metadata", *made["required"]]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
