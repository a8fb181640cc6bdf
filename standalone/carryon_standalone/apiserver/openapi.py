"""OpenAPI v3 documents, as `kubectl apply` and `kubectl explain` read them: one for each group and version.

Operations are those of a real server, with their parameters and without prose. The schemas of built-in kinds are
Kubernetes' own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from carryon_standalone.apiserver import kinds
from carryon_standalone.apiserver.negotiation import APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, YAML
from carryon_standalone.apiserver.resources import Registry, Resource

_LIST: Final = (
    *("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion"),
    *("resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"),
)
_WRITE: Final = ("dryRun", "fieldManager", "fieldValidation")
_DELETE: Final = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_TYPES: Final = {
    **dict.fromkeys(("limit", "timeoutSeconds", "gracePeriodSeconds"), "integer"),
    **dict.fromkeys(("allowWatchBookmarks", "sendInitialEvents", "watch", "force", "orphanDependents"), "boolean"),
}
_IN_PATH: Final = ("namespace", "name")
_PREFIX: Final = "#/components/schemas/"
_API_CONVENTIONS: Final = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"


class Documents:
    """The documents of a registry; each is made once, until what it describes changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, tuple[list[Resource], dict[str, Any], str]] = {}

    def index(self) -> dict[str, Any]:
        """`/openapi/v3`: where the documents are, with their hashes."""
        paths = {
            path: f"/openapi/v3/{path}?hash={self._of(path, served)[1]}" for path, served in self._served().items()
        }
        return {"paths": {path: {"serverRelativeURL": url} for path, url in paths.items()}}

    def document(self, path: str) -> tuple[dict[str, Any], str] | None:
        """`/openapi/v3/apis/GROUP/VERSION` and its hash."""
        served = self._served().get(path)
        return None if served is None else self._of(path, served)

    def _served(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self._registry:
            found.setdefault(f"apis/{resource.api_version}" if resource.group else "api/v1", []).append(resource)
        return found

    def _of(self, path: str, served: list[Resource]) -> tuple[dict[str, Any], str]:
        known = self._made.get(path)
        if (
            known is None
            or len(known[0]) != len(served)
            or any(a is not b for a, b in zip(known[0], served, strict=True))
        ):
            document = _document(served)
            known = self._made[path] = (served, document, etag(document))
        return known[1], known[2]


def etag(document: Mapping[str, Any]) -> str:
    """A document's hash."""
    return hashlib.sha512(orjson.dumps(document)).hexdigest().upper()


def _document(served: list[Resource]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for resource in served:
        paths |= _paths(resource)
        schemas |= _schemas(resource)
    used = {"DeleteOptions", "ListMeta", "ObjectMeta", "Patch", "Status"}
    schemas |= kinds.closure([f"{kinds.META}.{name}" for name in used])
    title = "Kubernetes CRD Swagger" if all(each.custom for each in served) else "Kubernetes"
    return {
        "openapi": "3.0.0",
        "info": {"title": title, "version": "v0.1.0" if title != "Kubernetes" else "v1.36.0"},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _paths(resource: Resource) -> dict[str, Any]:
    prefix = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{prefix}{scope}/{resource.plural}"
    verbs = set(resource.verbs)
    found = {
        collection: {
            **({"get": _operation(resource, "list", _LIST, listed=True)} if "list" in verbs else {}),
            **({"post": _operation(resource, "post", _WRITE)} if "create" in verbs else {}),
            **({"delete": _operation(resource, "deletecollection", _LIST)} if "deletecollection" in verbs else {}),
            "parameters": _parameters(*(["namespace"] if scope else []), "pretty"),
        }
    }
    if scope and "list" in verbs:
        everywhere = _operation(resource, "list", (), listed=True, suffix="ForAllNamespaces")
        found[f"{prefix}/{resource.plural}"] = {"get": everywhere, "parameters": _parameters(*_LIST, "pretty")}
    if resource.virtual:
        return found
    common = {"parameters": _parameters(*(["name", "namespace"] if scope else ["name"]), "pretty")}
    one = {
        "get": _operation(resource, "get", ("resourceVersion",)),
        "put": _operation(resource, "put", _WRITE),
        "delete": _operation(resource, "delete", _DELETE),
        "patch": _operation(resource, "patch", (*_WRITE, "force")),
    }
    found[f"{collection}/{{name}}"] = {**one, **common}
    if "status" in resource.subresources:
        status = {
            "get": _operation(resource, "get", ("resourceVersion",), suffix="Status"),
            "put": _operation(resource, "put", _WRITE, suffix="Status"),
            "patch": _operation(resource, "patch", (*_WRITE, "force"), suffix="Status"),
        }
        found[f"{collection}/{{name}}/status"] = {**status, **common}
    return found


def _parameters(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path" if name in _IN_PATH else "query",
            **({"required": True} if name in _IN_PATH else {}),
            "schema": {"type": _TYPES.get(name, "string"), "uniqueItems": True},
        }
        for name in sorted(names)
    ]


_WORDS: Final = {"post": "create", "get": "read", "put": "replace", "deletecollection": "delete"}


def _operation(
    resource: Resource, action: str, parameters: tuple[str, ...], listed: bool = False, suffix: str = ""
) -> dict[str, Any]:
    group = "".join(part[:1].upper() + part[1:] for part in (resource.group or "core").split("."))
    collection = "Collection" if action == "deletecollection" else ""
    scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    version = resource.version[:1].upper() + resource.version[1:]
    name = _schema_name(resource) + ("List" if listed else "")
    if action in ("delete", "deletecollection"):
        name = f"{kinds.META}.Status"
    answers = {"post": ("200", "201", "202"), "put": ("200", "201"), "delete": ("200", "202")}.get(action, ("200",))
    said = {"200": "OK", "201": "Created", "202": "Accepted"}
    made: dict[str, Any] = {
        "operationId": f"{_WORDS.get(action, action)}{group}{version}{collection}{scope}{resource.kind}{suffix}",
        "responses": {
            **{code: {"description": said[code], "content": _content((JSON, YAML), name)} for code in answers},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _group_version_kind(resource),
    }
    if parameters:
        made["parameters"] = _parameters(*parameters)
    if action in ("post", "put"):
        made["requestBody"] = {"content": _content((JSON, YAML), name), "required": True}
    elif action == "patch":
        types = [APPLY_PATCH, JSON_PATCH, MERGE_PATCH, *([] if resource.custom else [STRATEGIC_PATCH])]
        made["requestBody"] = {"content": _content(types, f"{kinds.META}.Patch"), "required": True}
    elif action == "delete":
        made["requestBody"] = {"content": _content((JSON, YAML), f"{kinds.META}.DeleteOptions")}
    return made


def _content(types: list[str] | tuple[str, ...], schema: str) -> dict[str, Any]:
    return {each: {"schema": {"$ref": _PREFIX + schema}} for each in types}


def _group_version_kind(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _schema_name(resource: Resource) -> str:
    """`dev.carryon.v1alpha1.GenerationJob`: the group's parts in reverse."""
    if not resource.custom:
        return kinds.name_of(resource.group, resource.version, resource.kind)
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _schemas(resource: Resource) -> Mapping[str, Mapping[str, Any]]:
    name = _schema_name(resource)
    described = kinds.DEFINITIONS[f"{kinds.META}.Status"]["properties"]
    identity = {field: described[field] for field in ("apiVersion", "kind")}
    listed = {
        "description": f"{resource.listed_as} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **identity,
            "items": {
                "description": f"List of {resource.plural}. More info: {_API_CONVENTIONS}",
                "type": "array",
                "items": {"$ref": _PREFIX + name},
            },
            "metadata": {
                "description": f"Standard list metadata. More info: {_API_CONVENTIONS}#types-kinds",
                "allOf": [{"$ref": f"{_PREFIX}{kinds.META}.ListMeta"}],
            },
        },
        "x-kubernetes-group-version-kind": [{**_group_version_kind(resource), "kind": resource.listed_as}],
    }
    lists = {f"{name}List": listed} if "list" in resource.verbs else {}
    if not resource.custom:
        return {**kinds.closure([name]), **lists}
    properties = {
        **identity,
        **(resource.shape.get("properties") or {}),
        "metadata": {
            "description": f"Standard object's metadata. More info: {_API_CONVENTIONS}#metadata",
            "allOf": [{"$ref": f"{_PREFIX}{kinds.META}.ObjectMeta"}],
        },
    }
    own = {**resource.shape, "properties": properties}
    return {name: {**own, "x-kubernetes-group-version-kind": [_group_version_kind(resource)]}, **lists}
