"""What is kept of a job between reconciles; all of it can be lost and found again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carryon_core.messages import StoreConfig
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_operator.bucket import BucketMemory
from carryon_operator.look import Former, Known
from carryon_operator.plan.model import Plan, PodRecord, Stopped
from carryon_operator.reading import read_spec
from carryon_store import Credentials, Store


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A status write that was never answered.

    Attributes:
        version: resourceVersion of the job that it was to change.
        before: Status as it was.
        plan: What was written.
    """

    version: str
    before: JobStatus
    plan: Plan


@dataclass
class JobMemory:
    """What is kept of a job between reconciles; all of it can be lost and found again.

    Attributes:
        pods: As they were at the last look, see `vanished`.
        gone: Pods that went since then, by uid, as they were seen last.
        retry_at: Fingerprint -> time before which the unit is not tried again.
        stopped: Pods that were stopped, and whose end is still to be accounted for.
        wrote_at: When status was last written, on the monotonic clock; likewise `opened_at`.
        refused: Why the API server would not take the last pod, and `refusal` in one word.
        unanswered: Names of pods whose creation was asked for and never answered.
        doubtful: A status write of which the same is true.
        store: The job's own, at `config`, with `keys`.
        known: What looks found out.
        look: The last one, which may go on after nobody waits for it.
        templates: What pods would be made with now, and of which generation that is.
    """

    uid: str
    pods: tuple[PodRecord, ...] = ()
    gone: dict[str, PodRecord] = field(default_factory=dict)
    retry_at: Mapping[str, float] = field(default_factory=dict)
    stopped: tuple[Stopped, ...] = ()
    wrote_at: float = -math.inf
    refused: str | None = None
    refusal: str = "PodRefused"
    unanswered: set[str] = field(default_factory=set)
    doubtful: Doubtful | None = None
    store: Store | None = None
    config: StoreConfig | None = None
    keys: Credentials | None = None
    opened_at: float = -math.inf
    generation: int = -1
    spec: JobSpec | None = None
    problem: tuple[str, str] | None = None
    known: Known = field(default_factory=Known)
    look: asyncio.Future[Former] | None = None
    templates: tuple[int, Mapping[str, frozenset[str]]] = field(default_factory=lambda: (-1, {}))

    def read(self, raw: Mapping[str, Any]) -> None:
        """Read the spec, once a generation."""
        generation = raw["metadata"].get("generation", 0)
        if self.generation != generation:
            self.store = None
            self.spec, self.problem = read_spec(raw)
            self.generation = generation

    @property
    def bucket(self) -> BucketMemory:
        """What is known of the job's bucket."""
        return self.known.bucket

    @property
    def resolved(self) -> ResolvedJob | None:
        """The job's units, as last resolved."""
        return self.known.resolved

    def rest(self, resting: ResolvedJob, now: float) -> None:
        """The job is over: keep what that is told by, and none of its units, which may be 100,000."""
        self.retry_at, self.store = {}, None
        former = self.known
        if not former.resting:
            self.known = Known(
                self.generation,
                resting,
                following=former.following,
                resting=True,
                lost=former.lost,
                late_at=now,
            )

    def reopen(self) -> None:
        """It is not over any more: find everything out anew."""
        self.known = Known()
