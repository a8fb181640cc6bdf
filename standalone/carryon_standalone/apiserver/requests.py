"""What a request means: the resource its path names, and the options in its query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from carryon_standalone.apiserver.deletion import DeleteOptions
from carryon_standalone.apiserver.errors import (
    Named,
    PageNotFound,
    bad_request,
    forbidden_value,
    invalid,
    invalid_value,
    not_found,
    not_supported,
    required_value,
)
from carryon_standalone.apiserver.logs import LogOptions
from carryon_standalone.apiserver.negotiation import APPLY_PATCH, JSON_PATCH, decode, repeated_fields
from carryon_standalone.apiserver.resources import Registry, Resource
from carryon_standalone.apiserver.schema import Structural
from carryon_standalone.apiserver.writes import WriteOptions

Query = Mapping[str, str]
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_TEXT: Final = {"type": "string", "nullable": True}
_DELETE_OPTIONS: Final = Structural.of(
    {
        "type": "object",
        "properties": {
            "gracePeriodSeconds": {"type": "integer", "nullable": True},
            "propagationPolicy": _TEXT,
            "orphanDependents": {"type": "boolean", "nullable": True},
            "dryRun": {"type": "array", "items": {"type": "string"}, "nullable": True},
            "preconditions": {
                "type": "object",
                "nullable": True,
                "properties": {"uid": _TEXT, "resourceVersion": _TEXT},
            },
        },
    }
)
_NAMESPACE_SUBRESOURCES: Final = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `namespace` is None for all of them; `name` is empty for a collection."""

    resource: Resource
    namespace: str | None
    name: str
    subresource: str


def target_of(registry: Registry, parts: list[str]) -> Target:
    """The target of a path below `/api` or `/apis`, given in its parts.

    Raises:
        PageNotFound: Nothing is served there.
    """
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) >= 3 and not (not group and rest[2] in _NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or len(rest) > 3:
        raise PageNotFound
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise not_found(resource.named(name)) if resource.custom else PageNotFound
    if (namespace is not None and not resource.namespaced) or (name and resource.namespaced and namespace is None):
        raise PageNotFound
    return Target(resource, namespace, name, subresource)


def is_true(query: Query, name: str) -> bool:
    """A boolean parameter; an empty one is true, as in `?watch`."""
    return name in query and query[name] in ("", *_TRUE)


def revision_of(query: Query) -> int | None:
    """The resourceVersion parameter; None where it is absent or empty.

    Raises:
        ApiError: 400 where it is no number.
    """
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdecimal():
        error = invalid_value("resourceVersion", text, f'strconv.ParseUint: parsing "{text}": invalid syntax')
        raise bad_request(f"invalid resource version: {error}")
    return int(text)


_OPTIONS: Final = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}


def write_options(request: web.BaseRequest, subresource: str, body: bytes = b"") -> WriteOptions:
    """Options of a write, from its query and its body.

    Raises:
        ApiError: 422 where one is unknown.
    """
    query = request.query
    dry_run = query.get("dryRun", "")
    validation = query.get("fieldValidation") or "Warn"
    errors = []
    if dry_run not in ("", "All"):
        errors.append(not_supported("dryRun", dry_run, "All"))
    if validation not in ("Ignore", "Warn", "Strict"):
        errors.append(not_supported("fieldValidation", validation, "", "Ignore", "Strict", "Warn"))
    if errors:
        raise invalid(Named("meta.k8s.io", _OPTIONS[request.method], ""), errors)
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "").partition("/")[0] or "unknown"
    media_type = request.headers.get("Content-Type", "").partition(";")[0]
    whole = media_type not in (JSON_PATCH, APPLY_PATCH)
    repeated = repeated_fields(body) if body and whole and validation != "Ignore" else []
    return WriteOptions(manager[:128], dry_run == "All", validation, subresource, tuple(repeated))


def apply_manager(query: Query) -> None:
    """Make sure that an apply says who applies.

    Raises:
        ApiError: 422.
    """
    if not query.get("fieldManager"):
        error = required_value("fieldManager", "is required for apply patch")
        raise invalid(Named("meta.k8s.io", "PatchOptions", ""), [error])


def check_watch(query: Query) -> None:
    """Make sure that the options of a watch go together, as Kubernetes' ValidateListOptions does.

    Raises:
        ApiError: 422.
    """
    match, why = query.get("resourceVersionMatch", ""), ""
    if "sendInitialEvents" not in query:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided" if match else ""
    elif match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    if why:
        raise invalid(Named("meta.k8s.io", "ListOptions", ""), [forbidden_value("resourceVersionMatch", why)])


def check_list(query: Query) -> None:
    """Make sure that the options of a list go together, as Kubernetes' ValidateListOptions does.

    Raises:
        ApiError: 422.
    """
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    errors = []
    if "sendInitialEvents" in query:
        errors.append(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match:
        if not version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            errors.append(forbidden_value("resourceVersionMatch", why))
        if query.get("continue"):
            why = "resourceVersionMatch is forbidden when continue is provided"
            errors.append(forbidden_value("resourceVersionMatch", why))
        if match not in ("Exact", "NotOlderThan"):
            errors.append(not_supported("resourceVersionMatch", match, "Exact", "NotOlderThan", ""))
        if match == "Exact" and version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            errors.append(forbidden_value("resourceVersionMatch", why))
    if errors:
        raise invalid(Named("meta.k8s.io", "ListOptions", ""), errors)


def delete_options(query: Query, body: bytes, content_type: str = "") -> DeleteOptions:
    """Options of a deletion: from the body, or the query where there is none.

    Raises:
        ApiError: 400 or 422.
    """
    given: dict[str, Any] = {}
    if body.strip():
        given = decode(body, content_type, "DeleteOptions")
        if misfits := _DELETE_OPTIONS.validate(given):
            raise bad_request(f"DeleteOptions cannot be decoded: {'; '.join(map(str, misfits))}")
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphan = given.get("orphanDependents", {"true": True, "false": False}.get(query.get("orphanDependents", "")))
    if not propagation and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    errors = []
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        allowed = ("Background", "Foreground", "Orphan", "nil")
        errors.append(not_supported("propagationPolicy", propagation, *allowed))
    dry_runs = given.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    errors += [not_supported("dryRun", each, "All") for each in dry_runs if each != "All"]
    if errors:
        raise invalid(Named("meta.k8s.io", "DeleteOptions", ""), errors)
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    preconditions = given.get("preconditions") or {}
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise bad_request(f"DeleteOptions: gracePeriodSeconds: {grace!r} is not a number of seconds") from error
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    return DeleteOptions(seconds, propagation, uid, version, bool(dry_runs))


def log_options(query: Query) -> LogOptions:
    """Options of `pods/log`.

    Raises:
        ApiError: 400.
    """
    since = None
    if seconds := _number(query, "sinceSeconds"):
        since = datetime.now(UTC) - timedelta(seconds=seconds)
    elif query.get("sinceTime"):
        try:
            since = datetime.fromisoformat(query["sinceTime"])
        except ValueError as error:
            raise bad_request(
                f"sinceTime: {query['sinceTime']!r} is not a time such as 2026-01-31T12:00:00Z"
            ) from error
        since = since.replace(tzinfo=since.tzinfo or UTC)
    return LogOptions(
        container=query.get("container", ""),
        previous=is_true(query, "previous"),
        follow=is_true(query, "follow"),
        timestamps=is_true(query, "timestamps"),
        since=since,
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
    )


def _number(query: Query, name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise bad_request(f"{name}: {text!r} must be a number, zero or greater")
    return int(text)


def timeout_of(query: Query) -> float | None:
    """Seconds a watch may take, or None where the client leaves it to the server."""
    return _number(query, "timeoutSeconds")


def page_of(query: Query) -> tuple[int, str]:
    """How many objects a page of a list may have, 0 for any number, and the token that asks for one further on.

    Raises:
        ApiError: 400 where a revision is asked for beside a token, which has one.
    """
    limit, token = _number(query, "limit") or 0, query.get("continue", "")
    if token and query.get("resourceVersion", "") not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    # Whoever is content with any state gets it whole, as from the cache of a real server.
    return (0 if not token and query.get("resourceVersion") == "0" else limit), token
