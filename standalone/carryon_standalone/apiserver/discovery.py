"""Discovery documents: which groups, versions and resources are served, in the old and the aggregated form."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from carryon_standalone.apiserver.resources import Registry, Resource

VERSION: Final = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+carryon",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def aggregated_version(accept: str) -> str:
    """`v2` or `v2beta1` where the client asks for aggregated discovery first, else empty."""
    for clause in accept.split(","):
        parameters = dict(part.strip().partition("=")[::2] for part in clause.split(";")[1:])
        if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("g") == "apidiscovery.k8s.io":
            if parameters.get("v") in ("v2", "v2beta1"):
                return str(parameters["v"])
        elif not parameters:
            return ""
    return ""


def legacy_versions(address: str) -> dict[str, Any]:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _groups(registry: Registry) -> dict[str, list[str]]:
    """Versions of every group but the core one, in order of appearance."""
    groups: dict[str, list[str]] = {}
    for resource in registry:
        if resource.group:
            versions = groups.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
    return groups


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(registry: Registry) -> dict[str, Any]:
    """`/apis`."""
    groups = [_group(name, versions) for name, versions in _groups(registry).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> dict[str, Any] | None:
    """`/apis/GROUP`."""
    versions = _groups(registry).get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(registry: Registry, group_name: str, version: str) -> dict[str, Any] | None:
    """`/api/v1` and `/apis/GROUP/VERSION`."""
    served = [each for each in registry if (each.group, each.version) == (group_name, version)]
    if not served:
        return None
    group_version = f"{group_name}/{version}" if group_name else version
    listed = [entry for resource in served for entry in _entries(resource)]
    kind = {"kind": "APIResourceList", "apiVersion": "v1"} if group_name else {"kind": "APIResourceList"}
    return {**kind, "groupVersion": group_version, "resources": listed}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if not resource.virtual:
        entry["storageVersionHash"] = _storage_version_hash(resource)
    below = [
        {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            **_kind_of(resource, name),
            "verbs": list(verbs),
        }
        for name, verbs in resource.subresources.items()
    ]
    return [entry, *below]


def _storage_version_hash(resource: Resource) -> str:
    """As k8s.io/apiserver/pkg/endpoints/discovery has it: changes where objects are stored in another version."""
    name = f"{resource.group}/{resource.storage_version or resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(name.encode()).digest()[:8]).decode()


_OTHER_KINDS: Final = {"eviction": ("policy", "v1", "Eviction"), "binding": ("", "v1", "Binding")}


def _kind_of(resource: Resource, subresource: str) -> dict[str, str]:
    if subresource not in _OTHER_KINDS:
        return {"kind": resource.kind}
    group_name, version, kind = _OTHER_KINDS[subresource]
    return {"group": group_name, "version": version, "kind": kind} if group_name else {"kind": kind}


def aggregated(registry: Registry, core: bool, version: str) -> dict[str, Any]:
    """`/api` or `/apis` in the aggregated form."""
    groups = {"": ["v1"]} if core else _groups(registry)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {
                        "version": each,
                        "resources": [
                            _aggregated_entry(resource)
                            for resource in registry
                            if (resource.group, resource.version) == (name, each)
                        ],
                        "freshness": "Current",
                    }
                    for each in versions
                ],
            }
            for name, versions in groups.items()
        ],
    }


def _aggregated_entry(resource: Resource) -> dict[str, Any]:
    # Kinds of a real server's own groups go without group and version here: they are those of the group's entry.
    kind = {"group": "", "version": "", "kind": resource.kind}
    if resource.custom:
        kind |= {"group": resource.group, "version": resource.version}
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": {**kind, **_kind_of(resource, name)}, "verbs": list(verbs)}
            for name, verbs in sorted(resource.subresources.items())
        ]
    return entry
