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

_QUOTA: Final = _object("name nominalQuota", name=_TEXT, nominalQuota=_QUANTITY, borrowingLimit=_QUANTITY)
_FLAVOR: Final = _object("name resources", name=_TEXT, resources=_list(_QUOTA))
_GROUP: Final = _object("coveredResources flavors", coveredResources=_list(_TEXT), flavors=_list(_FLAVOR))
_PREEMPTION: Final = _object(
    withinClusterQueue={"enum": ["Never", "LowerPriority", "LowerOrNewerEqualPriority"]},
    reclaimWithinCohort={"enum": ["Never", "LowerPriority", "Any"]},
)
_SOURCE: Final = _object(
    "repoURL",
    repoURL=_TEXT,
    targetRevision=_TEXT,
    path=_TEXT,
    helm=_object(releaseName=_TEXT, valuesObject=_FREE, valueFiles=_list(_TEXT)),
)
_SYNC: Final = _object(
    automated=_object(prune=_YES_OR_NO, selfHeal=_YES_OR_NO), syncOptions=_list({"pattern": "^[A-Za-z]+=[a-z]+$"})
)
_FLUX_SOURCE: Final = _object(
    "kind name", kind={"enum": ["GitRepository", "OCIRepository", "Bucket"]}, name=_TEXT, namespace=_TEXT
)
_HEALTH: Final = _object(
    "apiVersion kind current", apiVersion=_TEXT, kind=_TEXT, inProgress=_TEXT, failed=_TEXT, current=_TEXT
)

_KUEUE: Final = "kueue.x-k8s.io/v1beta2"
_KINDS: Final[Mapping[tuple[str, str], Schema]] = {
    (_KUEUE, "ResourceFlavor"): _object(spec=_object(nodeLabels=_TEXTS, nodeTaints=_list(_FREE))),
    (_KUEUE, "ClusterQueue"): _object(
        "spec",
        spec=_object(
            "resourceGroups",
            namespaceSelector=_FREE,
            preemption=_PREEMPTION,
            cohortName=_TEXT,
            resourceGroups=_list(_GROUP),
        ),
    ),
    (_KUEUE, "LocalQueue"): _object("spec", spec=_object("clusterQueue", clusterQueue=_TEXT)),
    ("argoproj.io/v1alpha1", "Application"): _object(
        "spec",
        spec=_object(
            "project source destination",
            project=_TEXT,
            source=_SOURCE,
            destination=_object("namespace", server=_TEXT, name=_TEXT, namespace=_TEXT),
            syncPolicy=_SYNC,
        ),
    ),
    ("source.toolkit.fluxcd.io/v1", "GitRepository"): _object(
        "spec",
        spec=_object("interval url", interval=_TEXT, url=_TEXT, ref=_object(branch=_TEXT, tag=_TEXT, commit=_TEXT)),
    ),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"): _object(
        "spec",
        spec=_object(
            "interval prune sourceRef",
            interval=_TEXT,
            path=_TEXT,
            prune=_YES_OR_NO,
            wait=_YES_OR_NO,
            timeout=_TEXT,
            targetNamespace=_TEXT,
            sourceRef=_FLUX_SOURCE,
            healthCheckExprs=_list(_HEALTH),
        ),
    ),
}
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
