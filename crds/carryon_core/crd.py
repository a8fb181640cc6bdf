"""The CustomResourceDefinition, made from the types.

Structural schemas are a narrow dialect of JSON Schema: no `$ref`, no `anyOf` for null, no `additionalProperties:
false` beside properties. `build` translates what pydantic writes into it and refuses what it can't translate, so that a
new kind of field is noticed here and not by an API server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel

from carryon_core import names
from carryon_core.schema import Schema, rule
from carryon_core.spec import JOB_NAME_LONGEST, JobSpec
from carryon_core.status import JobStatus

_KEPT: Final = (
    "description",
    "type",
    "format",
    "nullable",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "minProperties",
    "required",
)
_COLUMNS: Final = (
    ("Phase", "string", ".status.phase", 0),
    ("Progress", "string", ".status.progress", 0),
    ("Failed", "integer", ".status.units.failed", 0),
    ("Active", "integer", ".status.units.active", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Message", "string", ".status.message", 0),
)


def build(*, defaults_in_lists: bool = False) -> Schema:
    """The whole CRD as a dict, ready for `kubectl apply`.

    Args:
        defaults_in_lists: Say also what fields inside lists are by default. A server must not know: it would write them
            into each stage, and `kubectl apply`, which compares lists as a whole, would find a change in every file.
    """
    root = _root()
    if not defaults_in_lists:
        _strip_defaults(root["properties"]["spec"], inside=False)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "shortNames": [names.SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
                        for name, kind, path, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def render() -> str:
    """The CRD as YAML text, as it lies in `crds/`."""
    note = "# Made from carryon_core by `make generate`; change the types, not this file.\n"
    return note + yaml.safe_dump(build(), sort_keys=False, allow_unicode=True, width=120)


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model.

    Raises:
        ValueError: A field has a shape that structural schemas can't say.
    """
    schema = model.model_json_schema(by_alias=True)
    return _translate(schema, schema.get("$defs", {}), model.__name__)


def _root() -> Schema:
    return {
        "type": "object",
        "description": "A job that generates images, clips, text: anything made unit by unit.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(JobSpec),
            "status": structural(JobStatus),
        },
        "x-kubernetes-validations": [
            rule(
                f"size(self.metadata.name) <= {JOB_NAME_LONGEST}",
                f"metadata.name must be at most {JOB_NAME_LONGEST} characters, because pods are named after it",
            )
        ],
    }


def _strip_defaults(schema: Schema, *, inside: bool) -> None:
    """Take the defaults out of everything inside lists."""
    if inside:
        schema.pop("default", None)
    for inner in schema.get("properties", {}).values():
        _strip_defaults(inner, inside=inside)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            _strip_defaults(schema[key], inside=inside or key == "items")


def _translate(schema: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    if "$ref" in schema:
        referred = definitions[schema["$ref"].rpartition("/")[2]]
        return _translate({**referred, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions, where)
    if schema.get("x-kubernetes-int-or-string"):
        return {k: v for k, v in schema.items() if k in ("description", "x-kubernetes-int-or-string")}
    if "anyOf" in schema:
        return _nullable(schema, definitions, where)

    made: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if "exclusiveMinimum" in schema:
        made |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if schema.get("default") not in (None, [], {}):
        made["default"] = schema["default"]
    for key, inner in schema.get("properties", {}).items():
        made.setdefault("properties", {})[key] = _translate(inner, definitions, f"{where}.{key}")
    if "items" in schema:
        made["items"] = _translate(schema["items"], definitions, f"{where}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _translate(schema["additionalProperties"], definitions, f"{where}.*")
    made |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    if "type" not in made:
        raise ValueError(f"{where} has no type that a structural schema can say: {schema}")
    return made


def _nullable(schema: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    """`anyOf: [X, null]` is X that may be null, unless the field says that a rule needs it absent instead."""
    others = [option for option in schema["anyOf"] if option != {"type": "null"}]
    if len(others) != 1:
        raise ValueError(f"{where} is a union, which a structural schema can't say: {schema}")
    outer = {key: value for key, value in schema.items() if key not in ("anyOf", "nullable")}
    inner = others[0]
    if "x-kubernetes-validations" in outer:
        inner = dict(inner)
        outer["x-kubernetes-validations"] = [
            *_resolved(inner, definitions).get("x-kubernetes-validations", ()),
            *outer["x-kubernetes-validations"],
        ]
    made = _translate({**inner, **outer}, definitions, where)
    # The API server checks a null against the enum and finds it nowhere; where null is not allowed it counts as absent.
    if schema.get("nullable", True) and "enum" not in made:
        made["nullable"] = True
    return made


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def main() -> None:
    """Write the CRD's YAML file."""
    path = Path(__file__).resolve().parents[1] / f"{names.GROUP}_{names.PLURAL}.yaml"
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
