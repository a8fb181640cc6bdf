"""What the hub keeps of changes that wait, of jobs that are looked at closely, and of pages that are open."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from carryon_api.live.view import View
from carryon_api.records import JobRecord


@dataclass(frozen=True, slots=True)
class Change:
    """A job's newest state that is not in the feed yet; without record: it is gone."""

    uid: str
    namespace: str
    name: str
    version: int
    record: JobRecord | None


@dataclass(eq=False)
class Topic:
    """One job that pages look at closely.

    Attributes:
        number: No other topic has it.
        pages: How many.
        status: Its event, empty where there is none yet; `status_number` counts its changes.
        progress: The same of what its workers say.
        record: Of which `describing` is to make the next status.
    """

    number: int
    pages: int = 0
    status: bytes = b""
    status_number: int = 0
    progress: bytes = b""
    progress_number: int = 0
    record: JobRecord | None = None
    describing: asyncio.Task[None] | None = None


@dataclass(eq=False)
class Page:
    """One open page: where it is.

    Attributes:
        owner: Whose it is.
        reviewed: When its reader's rights were last known.
        next_review: When they are looked at again.
        next_learn: Before it, nobody is asked about namespaces that are new: there was no answer.
        missed: There may be jobs in these that it was not told of.
        position: In the feed; None: it is to begin with everything.
        awake: Set when there may be news.
    """

    view: View
    owner: Hashable
    reviewed: float
    next_review: float
    next_learn: float = 0.0
    missed: bool = False
    position: int | None = None
    status: int = 0
    progress: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
