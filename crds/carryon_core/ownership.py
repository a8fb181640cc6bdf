"""Whose a pod is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carryon_core import names


def owning_job(metadata: Mapping[str, Any]) -> str:
    """UID of the job that controls an object, empty if none does: whoever may label pods can't give one to a job.

    Args:
        metadata: Of the object, as Kubernetes has it.
    """
    for owner in metadata.get("ownerReferences") or ():
        group = owner.get("apiVersion", "").partition("/")[0]
        if owner.get("controller") and (group, owner.get("kind")) == (names.GROUP, names.KIND):
            return str(owner.get("uid", ""))
    return ""
