"""OpenAPI v3 documents, as much as `kubectl apply` and `kubectl explain` read.

kubectl apply looks for a patch operation with the kind and a query parameter `fieldValidation`; explain reads the
schemas of `components`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from carryon_standalone.apiserver.resources import Registry, Resource

_VALIDATION: Final = {
    "name": "fieldValidation",
    "in": "query",
    "description": "What to do with unknown fields: Ignore, Warn or Strict.",
    "schema": {"type": "string", "uniqueItems": True},
}
_METADATA_REF: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_METADATA: Final = {
    "description": "Metadata that all objects have.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Name, unique within a namespace."},
        "generateName": {"type": "string", "description": "Prefix of a name that the server completes."},
        "namespace": {"type": "string", "description": "The namespace it lies in."},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string", "default": ""},
            "description": "Keys and values that selectors find.",
        },
        "annotations": {
            "type": "object",
            "additionalProperties": {"type": "string", "default": ""},
            "description": "Keys and values that tools leave.",
        },
        "finalizers": {
            "type": "array",
            "items": {"type": "string", "default": ""},
            "description": "What has to happen before it may go.",
        },
        "ownerReferences": {"type": "array", "items": {"type": "object"}, "description": "What it goes away with."},
        "uid": {"type": "string", "description": "Identity, given by the server."},
        "resourceVersion": {"type": "string", "description": "Changes with every write."},
        "generation": {"type": "integer", "format": "int64", "description": "Changes with every new wish."},
        "creationTimestamp": {"type": "string", "format": "date-time", "description": "When it was made."},
        "deletionTimestamp": {"type": "string", "format": "date-time", "description": "When it has to be gone."},
    },
}
_API_VERSION: Final = {"type": "string", "description": "The group and version of this object's kind."}
_KIND: Final = {"type": "string", "description": "The kind of this object."}


def _paths_of(registry: Registry) -> dict[str, list[Resource]]:
    documents: dict[str, list[Resource]] = {}
    for resource in registry:
        path = f"apis/{resource.api_version}" if resource.group else "api/v1"
        documents.setdefault(path, []).append(resource)
    return documents


def index(registry: Registry) -> dict[str, Any]:
    """`/openapi/v3`: where the documents are, with their hashes."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={etag(_document(resources))}"}
            for path, resources in _paths_of(registry).items()
        }
    }


def etag(document: dict[str, Any]) -> str:
    """A document's hash."""
    return hashlib.sha256(orjson.dumps(document)).hexdigest().upper()


def document(registry: Registry, path: str) -> dict[str, Any] | None:
    """`/openapi/v3/apis/GROUP/VERSION`."""
    resources = _paths_of(registry).get(path)
    return None if resources is None else _document(resources)


def _document(resources: list[Resource]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {_METADATA_REF: _METADATA}
    for resource in resources:
        prefix = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{prefix}{scope}/{resource.plural}"
        name = _schema_name(resource)
        paths[collection] = {"post": _operation(resource, "post", name)}
        if not resource.virtual:
            paths[f"{collection}/{{name}}"] = {
                "get": _operation(resource, "get", name),
                "put": _operation(resource, "put", name),
                "patch": _operation(resource, "patch", name),
                "delete": _operation(resource, "delete", name),
            }
        schemas[name] = _schema(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema_name(resource: Resource) -> str:
    """`dev.carryon.v1alpha1.GenerationJob`: the group's parts in reverse."""
    parts = [*reversed((resource.group or "core.api.k8s.io").split(".")), resource.version, resource.kind]
    return ".".join(parts)


def _group_version_kind(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _operation(resource: Resource, action: str, schema: str) -> dict[str, Any]:
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _group_version_kind(resource),
        **({"parameters": [_VALIDATION]} if action in ("post", "put", "patch") else {}),
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
            }
        },
    }


def _schema(resource: Resource) -> dict[str, Any]:
    own: dict[str, Any] = dict(resource.shape) if resource.custom else {"x-kubernetes-preserve-unknown-fields": True}
    properties = {
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        **({} if resource.custom else {"spec": {"type": "object"}, "status": {"type": "object"}}),
        **(own.get("properties") or {}),
        "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_METADATA_REF}"}], "description": "Standard metadata."},
    }
    return {
        **own,
        "type": "object",
        "properties": properties,
        "x-kubernetes-group-version-kind": [_group_version_kind(resource)],
    }
