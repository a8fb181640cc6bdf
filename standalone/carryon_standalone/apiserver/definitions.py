"""CustomResourceDefinitions: checked when they are written, served as soon as they are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver import tables
from carryon_standalone.apiserver.errors import FieldError, invalid_value, not_supported, required_value
from carryon_standalone.apiserver.resources import Column, Resource, Strategy
from carryon_standalone.apiserver.schema import Structural
from carryon_standalone.apiserver.storage import Object

CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _prepare(definition: Object) -> None:
    """Conditions as the controllers of a real server would set them a moment later."""
    time = meta.now()
    definition["metadata"]["finalizers"] = [CLEANUP]
    definition["status"] = {
        "conditions": [
            {
                "type": "NamesAccepted",
                "status": "True",
                "reason": "NoConflicts",
                "message": "no conflicts found",
                "lastTransitionTime": time,
            },
            {
                "type": "Established",
                "status": "True",
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
                "lastTransitionTime": time,
            },
        ]
    }


def _default(definition: Object) -> None:
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})
    status = definition.setdefault("status", {})
    status["acceptedNames"] = dict(names)
    storage = [each.get("name") for each in spec.get("versions") or () if each.get("storage")]
    stored = status.get("storedVersions") or []
    status["storedVersions"] = [*stored, *(each for each in storage if each not in stored)]


def _validate(definition: Object, old: Object | None) -> list[FieldError]:
    spec = definition["spec"]
    names, group = spec["names"], spec.get("group", "")
    errors = [
        required_value(where)
        for where, value in (
            ("spec.group", group),
            ("spec.scope", spec.get("scope")),
            ("spec.names.plural", names.get("plural")),
            ("spec.names.kind", names.get("kind")),
            ("spec.versions", spec.get("versions")),
        )
        if not value
    ]
    if errors:
        return errors
    if "." not in group:
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    wanted = f"{names['plural']}.{group}"
    name = definition["metadata"].get("name", "")
    if name != wanted:
        errors.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if spec["scope"] not in ("Namespaced", "Cluster"):
        errors.append(not_supported("spec.scope", spec["scope"], "Cluster", "Namespaced"))
    for field in ("plural", "singular"):
        if not _NAME.fullmatch(names.get(field, "")):
            errors.append(invalid_value(f"spec.names.{field}", names.get(field, ""), "must be a DNS-1035 label"))
    if sum(1 for each in spec["versions"] if each.get("storage")) != 1:
        errors.append(
            invalid_value("spec.versions", "versions", "must have exactly one version marked as storage version")
        )
    for index, version in enumerate(spec["versions"]):
        errors += _check_version(version, f"spec.versions[{index}]")
    if old is not None:
        for field, before, after in (
            ("spec.scope", old["spec"].get("scope"), spec["scope"]),
            ("spec.group", old["spec"].get("group"), group),
            ("spec.names.kind", old["spec"]["names"].get("kind"), names["kind"]),
            ("spec.names.plural", old["spec"]["names"].get("plural"), names["plural"]),
        ):
            if before != after:
                errors.append(invalid_value(field, after, "field is immutable"))
    return errors


def _check_version(version: Mapping[str, Any], where: str) -> list[FieldError]:
    if not _NAME.fullmatch(version.get("name", "")):
        return [invalid_value(f"{where}.name", version.get("name", ""), "must be a DNS-1035 label such as v1alpha1")]
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        return [required_value(f"{where}.schema.openAPIV3Schema", "schemas are required")]
    _, errors = Structural.compile(schema, f"{where}.schema.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        try:
            tables.custom_column(column)
        except (ValueError, KeyError) as error:
            path = f"{where}.additionalPrinterColumns[{index}]"
            errors.append(invalid_value(f"{path}.jsonPath", column.get("jsonPath", ""), str(error)))
    return errors


_EMPTY: Final = {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": None}
STRATEGY: Final = Strategy(prepare=_prepare, default=_default, validate=_validate, empty={"spec": _EMPTY})


def served(definition: Object) -> tuple[Resource, ...]:
    """The resources that a valid definition serves, one for each version."""
    spec = definition["spec"]
    names = spec["names"]
    return tuple(_resource(spec, names, version) for version in spec["versions"] if version.get("served"))


def _resource(spec: Mapping[str, Any], names: Mapping[str, Any], version: Mapping[str, Any]) -> Resource:
    schema = version["schema"]["openAPIV3Schema"]
    status = (version.get("subresources") or {}).get("status") is not None
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        singular=names["singular"],
        kind=names["kind"],
        list_kind=names["listKind"],
        storage_version=next(each["name"] for each in spec["versions"] if each.get("storage")),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=_CUSTOM_VERBS,
        subresources={"status": ("get", "patch", "update")} if status else {},
        shape=schema,
        columns=_columns(version),
        structural=Structural.of(schema),
        custom=True,
        counts_generation=True,
    )


def _columns(version: Mapping[str, Any]) -> tuple[Column, ...]:
    defined = version.get("additionalPrinterColumns")
    if not defined:
        return (tables.NAME, tables.CUSTOM_AGE)
    return (tables.NAME, *(tables.custom_column(each) for each in defined))
