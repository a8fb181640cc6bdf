"""Conditions in the status of objects, which may be written by anybody and hold anything."""

from __future__ import annotations

from carryon_standalone.apiserver.storage import Object


def condition(value: Object, kind: str) -> Object:
    """The condition of a type that an object has; empty where it has none."""
    conditions = (value.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def readiness(value: Object) -> str:
    """`True`, `False` or `Unknown`, as a node or a pod says that it is ready; empty where nothing is said."""
    return str(condition(value, "Ready").get("status", ""))
