"""Whether the cluster's CRD knows the fields of this operator: one of before takes others away without a word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from carryon_core import names
from carryon_core.schema_changes import lacking, schema
from carryon_kube.client import Client
from carryon_kube.errors import ApiError

_TOLD: Final = 5
_PARTS: Final = ("spec", "status")

log = logging.getLogger(__name__)


class Definition:
    """Looks at the CRD now and then, and tells of what it lacks when that has changed."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._lacking: tuple[str, ...] = ()

    async def look(self, client: Client) -> None:
        """Compare the cluster's CRD with our types; where it can't be read, nothing is said."""
        try:
            document = await client.openapi(names.API_VERSION)
        except ApiError as error:
            log.debug("the schema of %s can't be read: %s", names.CRD_NAME, error)
            return
        found = await asyncio.to_thread(_lacking_of, document)
        if found and found != self._lacking:
            log.warning("%s", sentence(found))
        elif self._lacking and not found:
            log.info("the CRD %s has all fields now", names.CRD_NAME)
        self._lacking = found


def sentence(fields: Sequence[str]) -> str:
    """What a person has to know and do about fields that the CRD lacks."""
    more = f" and {len(fields) - _TOLD} more" if len(fields) > _TOLD else ""
    return (
        f"the CRD {names.CRD_NAME} is of an earlier release than this operator: it lacks {', '.join(fields[:_TOLD])}"
        f"{more}. The API server drops these fields wherever they are written. Apply the CRD of this operator's release"
    )


def _lacking_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    ours = schema()["properties"]
    kind = {"group": names.GROUP, "version": names.VERSION, "kind": names.KIND}
    for served in document.get("components", {}).get("schemas", {}).values():
        if kind in served.get("x-kubernetes-group-version-kind", ()):
            return tuple(lacking({"properties": {part: ours[part] for part in _PARTS}}, served))
    return ()
