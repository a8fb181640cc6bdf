"""The Helm chart as an installation sends it: rendered by Helm's own engine; and what manifests are held to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import helm_python
import yaml
from jsonschema.validators import Draft202012Validator
from referencing import Registry, Resource

Manifest = dict[str, Any]

CHART = Path(__file__).parents[1] / "charts" / "carryon"
RELEASE, NAMESPACE = "carryon", "carryon-system"
_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"
NOTES = "templates/NOTES.txt"

_TEXTS: Manifest = {"type": "object", "additionalProperties": {"type": "string"}}
_SELECTOR: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"matchLabels": _TEXTS},
}
_NAMESPACES: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"any": {"type": "boolean"}, "matchNames": {"type": "array", "items": {"type": "string"}}},
}
_DURATION: Manifest = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$",
}


def _monitor(kind: str, endpoints: str) -> Manifest:
    endpoint = {
        "type": "object",
        "additionalProperties": False,
        "required": ["port"],
        "properties": {
            "port": {"type": "string"},
            "path": {"type": "string"},
            "interval": _DURATION,
            **({"bearerTokenFile": {"type": "string"}} if kind == "ServiceMonitor" else {}),
        },
    }
    return {
        "required": ["selector", endpoints],
        "properties": {
            "selector": _SELECTOR,
            "namespaceSelector": _NAMESPACES,
            endpoints: {"type": "array", "minItems": 1, "items": endpoint},
        },
    }


_RULE: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "required": ["expr"],
    "properties": {
        "alert": {"type": "string"},
        "record": {"type": "string"},
        "expr": {"type": "string"},
        "for": _DURATION,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
MONITORING: Mapping[str, Manifest] = {
    # What the chart uses of the Prometheus operator's kinds, after its API reference: no registry has their schemas.
    "ServiceMonitor": _monitor("ServiceMonitor", "endpoints"),
    "PodMonitor": _monitor("PodMonitor", "podMetricsEndpoints"),
    "PrometheusRule": {
        "properties": {
            "groups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name", "rules"],
                    "properties": {
                        "name": {"type": "string"},
                        "interval": _DURATION,
                        "rules": {"type": "array", "minItems": 1, "items": _RULE},
                    },
                },
            }
        }
    },
}


def rendered(values: Mapping[str, Any] | None = None) -> Mapping[str, str]:
    """Path of each template in the chart -> what it made.

    Raises:
        helm_python.HelmError: The values are refused.
    """
    return _rendered(json.dumps(values or {}))


@cache
def _rendered(values: str) -> Mapping[str, str]:
    found = loaded().render(json.loads(values), name=RELEASE, namespace=NAMESPACE)
    return {path.removeprefix("carryon/"): text for path, text in found.items()}


@cache
def loaded() -> helm_python.Chart:
    """The chart, as Helm has read it."""
    return helm_python.Chart.load(CHART)


def manifests(values: Mapping[str, Any] | None = None) -> list[Manifest]:
    """All objects of a release, its test included; whoever changes one changes it for all."""
    return [*_manifests(json.dumps(values or {}))]


@cache
def _manifests(values: str) -> tuple[Manifest, ...]:
    return tuple(
        document
        for path, text in _rendered(values).items()
        if path != NOTES
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document is not None
    )


def of_kind(found: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in found if each["kind"] == kind]


def named(found: list[Manifest], kind: str, name: str) -> Manifest:
    (one,) = [each for each in of_kind(found, kind) if each["metadata"]["name"] == name]
    return one


def pod_specs(found: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and spec of every pod that a release has or makes."""
    for each in found:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif "template" in (each.get("spec") or {}):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def environment(found: list[Manifest], component: str) -> dict[str, str]:
    """Variables of the operator or the API."""
    deployment = named(found, "Deployment", f"{RELEASE}-{component}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    made = {each["name"]: each["value"] for each in container["env"]}
    assert len(made) == len(container["env"])
    return made


def wrong(manifest: Manifest, version: str) -> list[str]:
    """Where a manifest is not what a Kubernetes version knows, strictly: unknown fields too.

    Raises:
        KeyError: That version has no such kind.
    """
    group, _, _ = manifest["apiVersion"].rpartition("/")
    if group == "monitoring.coreos.com":
        spec = {"type": "object", "additionalProperties": False, **MONITORING[manifest["kind"]]}
        validator = Draft202012Validator({"required": ["metadata", "spec"], "properties": {"spec": spec}})
    else:
        validator = _validator(version, manifest["apiVersion"], manifest["kind"])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@cache
def _validator(version: str, api_version: str, kind: str) -> Any:
    group, _, number = api_version.rpartition("/")
    short = f"{group.partition('.')[0]}-{number}" if group else number
    file = _SCHEMAS / f"v{version}.0-local-strict" / f"{kind.lower()}-{short}.json"
    if not file.is_file():
        raise KeyError(f"Kubernetes {version} has no {api_version} {kind}")
    schema = Resource.from_contents(json.loads(file.read_text()))
    return Draft202012Validator(schema.contents, registry=schema @ _definitions(version))


@cache
def _definitions(version: str) -> Registry[Any]:
    text = (_SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json").read_text()
    return Resource.from_contents(json.loads(text)) @ Registry()
