"""Webhooks: what `spec.notify` asks for, and what `status.notifications` keeps of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from carryon_core.hosted import SecretKey
from carryon_core.schema import Loose, Model, Short, Time, rule, text

HOOKS_MOST: Final = 8
"""Webhooks of one job."""
PENDING_MOST: Final = 8
"""Notifications that may wait for one webhook."""
NOTIFICATIONS_MOST: Final = HOOKS_MOST * (PENDING_MOST + 1)

Occasion = Literal["Succeeded", "Failed", "Stalled", "Suspended"]
"""A condition that a job may come to; a webhook hears of it when it becomes True."""
OCCASIONS: Final[tuple[Occasion, ...]] = get_args(Occasion)

State = Literal["Pending", "Delivered", "GivenUp"]


class Notify(Model):
    """A webhook: an address that is told what becomes of the job."""

    url: Annotated[
        str,
        text(
            1024,
            rule(
                # Fragments are never sent, and a password in here would be read by whoever may read the job.
                r"self.matches('^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?([/?][!-\"$-~]*)?$')",
                "notify.url must be https://host/path or http://host/path, in ASCII, without user, password and"
                " #fragment",
            ),
        ),
    ] = Field(description="Where a CloudEvent is posted to: https://host/path. Whoever may read the job reads it.")
    # Not "on", which kubectl reads as the key "true", as YAML 1.1 has it.
    events: Annotated[
        list[Occasion],
        Field(min_length=1, max_length=len(OCCASIONS), json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default=list(OCCASIONS), description="Conditions that it hears of when they become True; left out: all four."
    )
    signing_secret: SecretKey | None = Field(
        default=None,
        description="Secret in the job's namespace, and the key in it that holds whsec_ and 24 to 64 bytes in base64:"
        " requests are signed with it, as Standard Webhooks says.",
    )

    @property
    def digest(self) -> str:
        """Names the webhook in status, wherever it stands in the list: 12 hex digits of its url's SHA-256."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]


class Counts(Loose):
    """Units of all stages at the moment a notification speaks of."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    remaining: int = 0


class Notification(Loose):
    """One event for one webhook. All that is sent of it is kept, so that every attempt says the same."""

    hook: int = Field(description="Position of the webhook in spec.notify, from 0.")
    url: Short = Field(description="First 12 hex digits of the SHA-256 of its url.")
    id: Short = Field(description="Of the event: the same in every attempt, for every webhook.")
    condition: Short = Field(description="Which became True.")
    reason: Short = Field(default="", description="Of the condition, then.")
    phase: Short = Field(default="", description="Of the job, then.")
    time: Time = Field(description="When it became True.")
    units: Counts | None = Field(default=None, description="Then; of what is pending.")
    state: State = "Pending"
    attempts: int = 0
    result: Short = Field(default="", description="What the last attempt came to.")
    attempted: Time | None = Field(default=None, description="When that was.")
    next: Time | None = Field(default=None, description="When the next attempt is due; null while pending: now.")

    @property
    def pending(self) -> bool:
        """Whether it is still to be delivered."""
        return self.state == "Pending"


_HOOKS: Final = TypeAdapter(list[Notify])
_KEPT: Final = TypeAdapter(list[Notification])


def webhooks(job: Mapping[str, Any]) -> tuple[Notify, ...]:
    """The webhooks of a job as the API server shows it; none where they can't be read."""
    try:
        return tuple(_HOOKS.validate_python((job.get("spec") or {}).get("notify") or []))
    except ValidationError:
        return ()


def pending(job: Mapping[str, Any]) -> tuple[Notification, ...]:
    """What is to be delivered of a job as the API server shows it; nothing where that can't be read."""
    kept = (job.get("status") or {}).get("notifications") or []
    try:
        return tuple(each for each in _KEPT.validate_python(kept) if each.pending)
    except ValidationError:
        return ()
