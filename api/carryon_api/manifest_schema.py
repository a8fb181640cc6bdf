"""A manifest's schema as OpenAPI 3.1 has it, from the one that the CRD has."""

from __future__ import annotations

from typing import Any

from carryon_core import crd, names

Schema = dict[str, Any]


def manifest_schema() -> Schema:
    """The schema of a GenerationJob that somebody sends: without what only the operator and the server write."""
    whole = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    name = whole["properties"].get("metadata", {}).get("properties", {}).get("name", {})
    return {
        "type": "object",
        "description": "A GenerationJob. Besides this schema, rules of the CRD hold, which Kubernetes checks.",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": names.API_VERSION},
            "kind": {"const": names.KIND},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 40, **name},
                    "namespace": {"type": "string"},
                    "resourceVersion": {"type": "string", "description": "Needed for an edit."},
                    "labels": texts,
                    "annotations": texts,
                },
            },
            "spec": converted(whole["properties"]["spec"]),
        },
    }


def converted(schema: Any) -> Any:
    """A structural schema of Kubernetes as a JSON Schema: null, and either of two types, are said differently there."""
    if isinstance(schema, list):
        return [converted(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: converted(each) for name, each in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made = {**{name: each for name, each in made.items() if name != "anyOf"}, "type": ["integer", "string"]}
    if made.pop("nullable", None) is True and "type" in made:
        types = made["type"] if isinstance(made["type"], list) else [made["type"]]
        made["type"] = [*types, "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made
