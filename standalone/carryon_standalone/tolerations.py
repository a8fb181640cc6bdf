"""Tolerations: which taints of a node a pod takes, for placing it and for ending it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tolerates(toleration: Mapping[str, Any], key: str, value: str, effect: str) -> bool:
    """Whether a toleration is about a taint."""
    if toleration.get("effect") not in (None, "", effect) or toleration.get("key") not in (None, "", key):
        return False
    return toleration.get("operator") == "Exists" or (
        toleration.get("key") == key and toleration.get("value", "") == value
    )
