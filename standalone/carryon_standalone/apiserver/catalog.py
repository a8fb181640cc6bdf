"""The built-in kinds, as a table."""

from __future__ import annotations

from typing import Any, Final

from carryon_standalone.apiserver import budgets, definitions, kinds, strategies, tables
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.schema import Structural

_STATUS: Final = {"status": ("get", "patch", "update")}
_CREATE: Final = ("create",)

CRD_GROUP: Final = "apiextensions.k8s.io"
CRD_KIND: Final = f"{CRD_GROUP}/customresourcedefinitions"
NAMESPACES: Final = "/namespaces"
PODS: Final = "/pods"
EVENTS: Final = "/events"
BUDGETS: Final = "policy/poddisruptionbudgets"
NODES: Final = "/nodes"
LEASES: Final = "coordination.k8s.io/leases"
SERVICE_ACCOUNTS: Final = "/serviceaccounts"


def _review(group: str, kind: str, namespaced: bool = False) -> Resource:
    return _built_in(
        group, f"{kind.lower()}s", kind, namespaced=namespaced, verbs=_CREATE, virtual=True, strategy=strategies.REVIEW
    )


def _built_in(group: str, plural: str, kind: str, **more: Any) -> Resource:
    shape = kinds.shape(kinds.name_of(group, "v1", kind))
    return Resource(
        group=group,
        version="v1",
        plural=plural,
        singular=kind.lower(),
        kind=kind,
        shape=shape,
        structural=Structural.of(shape),
        **more,
    )


def _core(plural: str, kind: str, **more: Any) -> Resource:
    return _built_in("", plural, kind, **more)


BUILTINS: Final = (
    _core(
        "namespaces",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        subresources={**_STATUS, "finalize": ("update",)},
        strategy=strategies.NAMESPACE,
        columns=tables.NAMESPACE_COLUMNS,
        deletion_returns_object=True,
    ),
    _core(
        "pods",
        "Pod",
        short_names=("po",),
        categories=("all",),
        subresources={**_STATUS, "log": ("get",), "binding": _CREATE, "eviction": _CREATE},
        strategy=strategies.POD,
        columns=tables.POD_COLUMNS,
        counts_generation=True,
        deletion_returns_object=True,
    ),
    _core(
        "events",
        "Event",
        short_names=("ev",),
        strategy=strategies.EVENT,
        columns=tables.EVENT_COLUMNS,
    ),
    _core(
        "secrets",
        "Secret",
        strategy=strategies.SECRET,
        columns=tables.SECRET_COLUMNS,
    ),
    _core(
        "configmaps",
        "ConfigMap",
        short_names=("cm",),
        strategy=strategies.CONFIG_MAP,
        columns=tables.CONFIG_MAP_COLUMNS,
    ),
    _core(
        "serviceaccounts",
        "ServiceAccount",
        short_names=("sa",),
        columns=tables.SERVICE_ACCOUNT_COLUMNS,
        deletion_returns_object=True,
    ),
    # There are none, and none can be made: nothing here would route to them. `kubectl cluster-info` looks for some.
    _core("services", "Service", short_names=("svc",), categories=("all",), verbs=("get", "list", "watch")),
    _core(
        "nodes",
        "Node",
        namespaced=False,
        short_names=("no",),
        subresources=_STATUS,
        strategy=strategies.NODE,
        columns=tables.NODE_COLUMNS,
    ),
    _built_in(
        group="coordination.k8s.io",
        plural="leases",
        kind="Lease",
        strategy=strategies.LEASE,
        columns=tables.LEASE_COLUMNS,
    ),
    _built_in(
        group="policy",
        plural="poddisruptionbudgets",
        kind="PodDisruptionBudget",
        short_names=("pdb",),
        subresources=_STATUS,
        strategy=budgets.BUDGET,
        columns=tables.BUDGET_COLUMNS,
        counts_generation=True,
    ),
    _built_in(
        group=CRD_GROUP,
        plural="customresourcedefinitions",
        kind="CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=_STATUS,
        strategy=definitions.STRATEGY,
        columns=tables.DEFINITION_COLUMNS,
        counts_generation=True,
        deletion_returns_object=True,
    ),
    _review("authorization.k8s.io", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "SubjectAccessReview"),
    _review("authorization.k8s.io", "LocalSubjectAccessReview", namespaced=True),
    _review("authentication.k8s.io", "TokenReview"),
    _review("authentication.k8s.io", "SelfSubjectReview"),
)
