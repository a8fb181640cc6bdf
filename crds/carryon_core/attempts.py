"""What stays of an attempt at a unit that failed, when its pod is gone: `attempts/{pod uid}.json` in the bucket."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from carryon_core.schema import Loose, text


class AttemptRecord(Loose):
    """One pod's try at one unit."""

    pod: Annotated[str, text(253, shortest=0)]
    pod_uid: Annotated[str, text(253, shortest=0)]
    stage: str
    item: str
    attempt: int = Field(description="Number of the pod among those made for these units.")
    reason: str = Field(description="CamelCase, as in status.recentFailures.")
    message: str = ""
    exit_code: int | None = Field(default=None, description="Of the worker; null where it never ran.")
    started: str | None = Field(default=None, description="RFC 3339 time, of the worker.")
    finished: str | None = None
    image: str = ""
