"""Objects as `Table` and `PartialObjectMetadata`: what `kubectl get` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from carryon_standalone.apiserver.conditions import readiness
from carryon_standalone.apiserver.jsonpath import compile_path
from carryon_standalone.apiserver.resources import Column, Resource
from carryon_standalone.apiserver.storage import Object

_NAME_DESCRIPTION: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a"
    " client to request the generation of an appropriate name automatically. Name is primarily intended for creation"
    " idempotence and configuration definition. Cannot be updated. More info:"
    " https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_CREATED_DESCRIPTION: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed"
    " to be set in happens-before order across separate operations. Clients may not set this value. It is represented"
    " in RFC3339 form and is in UTC."
)


def age(timestamp: str | None) -> str:
    """How long ago a time was, as kubectl writes it: `5s`, `3m2s`, `2d4h`."""
    if not timestamp:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    return _human_duration(max(0, int((datetime.now(UTC) - then).total_seconds())))


def _human_duration(seconds: int) -> str:
    """Source: k8s.io/apimachinery/pkg/util/duration.HumanDuration."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def _created(value: Object) -> str:
    return age(value["metadata"].get("creationTimestamp"))


NAME: Final = Column("Name", "string", _NAME_DESCRIPTION, lambda value: value["metadata"]["name"], format="name")
AGE: Final = Column("Age", "string", _CREATED_DESCRIPTION, _created)
CREATED_AT: Final = Column(
    "Created At", "date", _CREATED_DESCRIPTION, lambda value: value["metadata"].get("creationTimestamp")
)
CUSTOM_AGE: Final = Column(
    "Age", "date", "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp", _created
)


def custom_column(definition: dict[str, Any]) -> Column:
    """A column of `additionalPrinterColumns`.

    Raises:
        ValueError: Its JSONPath can't be read.
    """
    path, kind = definition["jsonPath"], definition["type"]
    find = compile_path(path)

    def cell(value: Object) -> Any:
        return _custom_cell(find(value), kind)

    described = definition.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(
        definition["name"], kind, described, cell, definition.get("format", ""), definition.get("priority", 0)
    )


def _custom_cell(found: list[Any], kind: str) -> Any:
    """A value as its column's type has it; None where it does not fit."""
    if not found or found[0] is None:
        return None
    value = found[0]
    if kind == "date":
        return age(value) if isinstance(value, str) else "<invalid>"
    if kind == "string":
        return value if isinstance(value, str) else " ".join(_text(each) for each in found)
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def _pod_status(pod: Object) -> str:
    """The word in the STATUS column. Source: printPod in k8s.io/kubernetes/pkg/printers/internalversion."""
    status = pod.get("status") or {}
    reason: str = status.get("reason") or status.get("phase") or ""
    running = False
    for each in reversed(status.get("containerStatuses") or []):
        state = each.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated:
            by_signal = f"Signal:{terminated.get('signal')}" if terminated.get("signal") else ""
            reason = terminated.get("reason") or by_signal or f"ExitCode:{terminated.get('exitCode', 0)}"
        elif each.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        reason = "Running"
    if not (status.get("containerStatuses")) and _gated(status):
        reason = "SchedulingGated"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return reason


def _gated(status: Object) -> bool:
    conditions = status.get("conditions") or ()
    return any(each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated" for each in conditions)


def _pod_ready(pod: Object) -> str:
    ready = sum(1 for each in (pod.get("status") or {}).get("containerStatuses") or () if each.get("ready"))
    return f"{ready}/{len((pod.get('spec') or {}).get('containers') or ())}"


def _pod_restarts(pod: Object) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    count = sum(each.get("restartCount", 0) for each in statuses)
    ended = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for each in statuses]
    latest = max(filter(None, ended), default=None)
    return f"{count} ({age(latest)} ago)" if count and latest else str(count)


def _pod_address(pod: Object) -> str:
    return (pod.get("status") or {}).get("podIP") or "<none>"


def _pod_node(pod: Object) -> str:
    return (pod.get("spec") or {}).get("nodeName") or "<none>"


POD_COLUMNS: Final = (
    NAME,
    Column("Ready", "string", "The containers that are ready to serve, of all.", _pod_ready),
    Column("Status", "string", "What the pod does, in a word.", _pod_status),
    Column("Restarts", "string", "How often containers were started again.", _pod_restarts),
    AGE,
    Column("IP", "string", "Address of the pod.", _pod_address, "", 1),
    Column("Node", "string", "Where it runs.", _pod_node, "", 1),
)


def _event_last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return age(next(filter(None, times), None))


def _event_object(event: Object) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_message(event: Object) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


EVENT_COLUMNS: Final = (
    Column("Last Seen", "string", "When it was last seen.", _event_last_seen),
    Column("Type", "string", "Normal or Warning.", lambda event: event.get("type", "")),
    Column("Reason", "string", "Why, in a word.", lambda event: event.get("reason", "")),
    Column("Object", "string", "What it is about.", _event_object),
    Column("Message", "string", "What happened.", _event_message),
    Column("Name", "string", _NAME_DESCRIPTION, lambda event: event["metadata"]["name"], "name", 1),
)


def _node_status(node: Object) -> str:
    word = {"True": "Ready", "False": "NotReady"}.get(readiness(node), "Unknown")
    return f"{word},SchedulingDisabled" if (node.get("spec") or {}).get("unschedulable") else word


def _node_roles(node: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = [label.removeprefix(prefix) for label in node["metadata"].get("labels") or {} if label.startswith(prefix)]
    return ",".join(sorted(roles)) or "<none>"


def _node_version(node: Object) -> str:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return str(info.get("kubeletVersion", ""))


NODE_COLUMNS: Final = (
    NAME,
    Column("Status", "string", "Whether it takes pods.", _node_status),
    Column("Roles", "string", "Its roles.", _node_roles),
    AGE,
    Column("Version", "string", "Version of its kubelet.", _node_version),
)
NAMESPACE_COLUMNS: Final = (
    NAME,
    Column("Status", "string", "Active or Terminating.", lambda each: (each.get("status") or {}).get("phase", "")),
    AGE,
)


def _entries(value: Object) -> int:
    return len(value.get("data") or {}) + len(value.get("binaryData") or {})


CONFIG_MAP_COLUMNS: Final = (
    NAME,
    Column("Data", "string", "Number of entries.", _entries),
    AGE,
)
SECRET_COLUMNS: Final = (
    NAME,
    Column("Type", "string", "Type of the secret.", lambda each: each.get("type", "")),
    Column("Data", "string", "Number of entries.", lambda each: len(each.get("data") or {})),
    AGE,
)
SERVICE_ACCOUNT_COLUMNS: Final = (
    NAME,
    Column("Secrets", "string", "Number of secrets.", lambda each: len(each.get("secrets") or ())),
    AGE,
)
LEASE_COLUMNS: Final = (
    NAME,
    Column("Holder", "string", "Who holds it.", lambda each: (each.get("spec") or {}).get("holderIdentity") or ""),
    AGE,
)


def _amount(name: str) -> Callable[[Object], Any]:
    def cell(value: Object) -> str:
        given = value["spec"].get(name)
        return "N/A" if given is None else str(given)

    return cell


BUDGET_COLUMNS: Final = (
    NAME,
    Column("Min Available", "string", "Pods that have to stay.", _amount("minAvailable")),
    Column("Max Unavailable", "string", "Pods that may be missing.", _amount("maxUnavailable")),
    Column(
        "Allowed Disruptions",
        "integer",
        "Pods that may be evicted now.",
        lambda each: (each.get("status") or {}).get("disruptionsAllowed", 0),
    ),
    AGE,
)
DEFINITION_COLUMNS: Final = (NAME, CREATED_AT)


def table(resource: Resource, version: str, values: Iterable[Object], metadata: Object, shown: str) -> Object:
    """A `Table` of objects; `shown` says what each row carries: None, Metadata or Object."""
    columns = resource.columns or (NAME, CREATED_AT)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": each.name,
                "type": each.type,
                "format": each.format,
                "description": each.description,
                "priority": each.priority,
            }
            for each in columns
        ],
        "rows": [
            {"cells": [each.cell(value) for each in columns], "object": _row_object(value, version, shown)}
            for value in values
        ],
    }


def _row_object(value: Object, version: str, shown: str) -> Object | None:
    if shown == "None":
        return None
    return value if shown == "Object" else partial(value, version)


def partial(value: Object, version: str) -> Object:
    """An object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": value["metadata"]}
