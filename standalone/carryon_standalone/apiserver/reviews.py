"""Reviews: who a token belongs to, and what somebody may do (authentication.k8s.io and authorization.k8s.io).

Answers and refusals as kubernetes/pkg/registry/authentication/tokenreview and
kubernetes/pkg/apis/authorization/validation have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver.access import Attributes, Authority, User
from carryon_standalone.apiserver.errors import FieldError, bad_request, invalid, invalid_value
from carryon_standalone.apiserver.ownership import Author, record
from carryon_standalone.apiserver.requests import Target
from carryon_standalone.apiserver.schema import Structural
from carryon_standalone.apiserver.storage import Object

AUDIENCE: Final = "https://kubernetes.default.svc.cluster.local"
_TEXT: Final = {"type": "string", "nullable": True}
_TEXTS: Final = {"type": "array", "items": {"type": "string"}, "nullable": True}
_ATTRIBUTES: Final = {
    "type": "object",
    "nullable": True,
    "properties": {
        name: _TEXT for name in ("namespace", "verb", "group", "version", "resource", "subresource", "name", "path")
    },
}
_SPEC: Final = Structural.of(
    {
        "type": "object",
        "properties": {
            "metadata": {"type": "object", "nullable": True, "x-kubernetes-preserve-unknown-fields": True},
            "spec": {
                "type": "object",
                "nullable": True,
                "properties": {
                    "token": _TEXT,
                    "namespace": _TEXT,
                    "audiences": _TEXTS,
                    "user": _TEXT,
                    "uid": _TEXT,
                    "groups": _TEXTS,
                    "extra": {"type": "object", "nullable": True, "additionalProperties": _TEXTS},
                    "resourceAttributes": _ATTRIBUTES,
                    "nonResourceAttributes": _ATTRIBUTES,
                },
            },
        },
    }
)


def answered(authority: Authority, user: User, target: Target, value: Object, manager: str) -> Object:
    """A review with its answer.

    Args:
        authority: Knows tokens, and who may what.
        user: Who asks.
        target: What kind of review, and where.
        value: As it was sent.
        manager: Who sent it, for managedFields.

    Raises:
        ApiError: It can't be answered as asked.
    """
    resource = target.resource
    value = {**value, "apiVersion": resource.api_version, "kind": resource.kind}
    wrong = _SPEC.validate(value)
    if wrong:
        raise bad_request(f'{resource.kind} in version "v1" cannot be handled as a {resource.kind}: {wrong[0]}')
    value["metadata"] = {**(value.get("metadata") or {})}
    value["spec"] = {name: each for name, each in (value.get("spec") or {}).items() if each is not None}
    value.pop("status", None)
    if resource.kind == "TokenReview":
        return {**value, "status": _token(authority, value["spec"])}
    if resource.kind == "SelfSubjectReview":
        return {**value, "status": {"userInfo": _info(user)}}
    if resource.kind == "SelfSubjectRulesReview":
        if not value["spec"].get("namespace"):
            raise bad_request("no namespace on request")
        return {**value, "status": _rules(authority, user)}
    spec = value["spec"]
    wrong = _wrong(resource.kind, spec, target.namespace)
    if wrong:
        raise invalid(resource.kind_named(str(value["metadata"].get("name") or "")), wrong)
    if resource.kind != "SelfSubjectAccessReview":
        extra = {name: tuple(values or ()) for name, values in (spec.get("extra") or {}).items()}
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
    record(dict(resource.strategy.empty), value, {}, Author(manager, "", resource.api_version, meta.now()))
    return {**value, "status": {"allowed": authority.allows(user, _attributes(spec))}}


def _token(authority: Authority, spec: Mapping[str, Any]) -> dict[str, Any]:
    token, audiences = spec.get("token", ""), spec.get("audiences") or [AUDIENCE]
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    user = authority.user_of(token) if AUDIENCE in audiences else None
    if user is None:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": _info(user), "audiences": [AUDIENCE]}


def _rules(authority: Authority, user: User) -> dict[str, Any]:
    """All rights, or none that could be listed: an authority answers single questions."""
    everything = Attributes("*", "*", "*"), Attributes("*", path="*")
    owner = all(authority.allows(user, each) for each in everything)
    return {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}] if owner else [],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}] if owner else [],
        "incomplete": not owner,
    }


def _info(user: User) -> dict[str, Any]:
    extra = {name: list(values) for name, values in user.extra.items()}
    fields = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
    return {name: value for name, value in fields.items() if value}


def _wrong(kind: str, spec: Mapping[str, Any], namespace: str | None) -> list[FieldError]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    found = []
    if resource is not None and other is not None:
        said = "cannot be specified in combination with resourceAttributes"
        found.append(invalid_value("spec.nonResourceAttributes", other, said))
    if resource is None and other is None:
        said = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found.append(invalid_value("spec.resourceAttributes", None, said))
    if kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        found.append(
            invalid_value("spec.user", spec.get("user", ""), "at least one of user or group must be specified")
        )
    if kind == "LocalSubjectAccessReview":
        if other is not None:
            found.append(invalid_value("spec.nonResourceAttributes", other, "disallowed on this kind of request"))
        elif resource is not None and (resource.get("namespace") or "") != (namespace or ""):
            given = resource.get("namespace") or ""
            found.append(invalid_value("spec.resourceAttributes.namespace", given, "must match metadata.namespace"))
    return found


def _attributes(spec: Mapping[str, Any]) -> Attributes:
    other = spec.get("nonResourceAttributes")
    if other is not None:
        return Attributes(other.get("verb") or "", path=other.get("path") or "/")
    given = spec["resourceAttributes"]
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(**{name: given.get(name) or "" for name in names})
